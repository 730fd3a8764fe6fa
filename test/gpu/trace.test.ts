import { expect, test } from 'vitest';
import type { Profiled } from '../../src/gpu/profiler.ts';
import { chromeTrace } from '../../src/gpu/trace.ts';

const facts = { constants: { ROWS: 4 }, workgroups: [2, 1, 1] as const, share: 1, bytesRead: 64, bytesWritten: 32 };
const dispatches = [
  { ...facts, label: 'softmax', kernel: 'softmax/rows', pipeline: 7, recorded: 1.5, gpuStart: 0, gpuTime: 0.25 },
  { ...facts, label: 'add', kernel: 'elementwise', pipeline: 8, recorded: 2, gpuStart: 0.5, gpuTime: 0.125 },
];
const host = [
  { kind: 'compile', name: 'softmax/rows', start: 0.5, duration: 0.75 },
  { kind: 'record', name: 'softmax', start: 0.5, duration: 1 },
  { kind: 'submit', name: 'submit', start: 3, duration: 1 },
  { kind: 'work', name: 'work', start: 0, duration: 4 },
  { kind: 'wait', name: 'wait', start: 4, duration: 2 },
] as const;
const profiled: Profiled = { isTimed: true, dispatches, host };

interface Event {
  ph: string;
  cat: string;
  name: string;
  tid: number;
  ts: number;
  dur: number;
  id: number;
  args: object;
}
const eventsOf = (text: string) => (JSON.parse(text) as { traceEvents: Event[] }).traceEvents;

test('spans are in microseconds, outer ones first, and the GPU begins where the first submit ended', () => {
  const spans = eventsOf(chromeTrace(profiled, 'a GPU')).filter(({ ph }) => ph === 'X');
  expect(spans.map(({ tid, cat, name, ts, dur }) => [tid, cat, name, ts, dur])).toEqual([
    [1, 'work', 'work', 0, 4000],
    [1, 'record', 'softmax', 500, 1000],
    [1, 'compile', 'softmax/rows', 500, 750],
    [1, 'submit', 'submit', 3000, 1000],
    [1, 'wait', 'wait', 4000, 2000],
    [2, 'kernel', 'softmax', 4000, 250],
    [2, 'kernel', 'add', 4500, 125],
  ]);
  expect(spans[5].args).toEqual({ ...facts, workgroups: [2, 1, 1], kernel: 'softmax/rows', pipeline: 7 });
});

test('an arrow leads from where a dispatch was recorded to where it ran', () => {
  const arrows = eventsOf(chromeTrace(profiled, 'a GPU')).filter(({ ph }) => ph === 's' || ph === 'f');
  expect(arrows.map(({ ph, tid, id, ts }) => [ph, tid, id, ts])).toEqual([
    ['s', 1, 0, 1500],
    ['f', 2, 0, 4000],
    ['s', 1, 1, 2000],
    ['f', 2, 1, 4500],
  ]);
});

test('names of devices and ops are text, whatever is in them', () => {
  const name = '"},{"\\n</script>';
  const [process] = eventsOf(chromeTrace({ ...profiled, host: [] }, name));
  expect(process.args).toEqual({ name: `webgpu-attention on ${name}` });
});
