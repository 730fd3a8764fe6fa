/**
 * A profile in the Trace Event Format that Chrome's about:tracing, Perfetto and Speedscope read (Google, "Trace Event Format",
 * 2016): one lane for the host, one for the GPU, and an arrow from each dispatch's recording to its run.
 */
import type { Profiled } from './profiler.ts';

const PROCESS = 1;
const HOST = 1;
const GPU = 2;

/**
 * The trace as JSON. Host and GPU have clocks of their own, and WebGPU does not say how far they are apart. The GPU's first
 * dispatch is therefore drawn where the first submit ended. Within a lane all distances are measured; between lanes they
 * are as good as that guess.
 */
export function chromeTrace({ dispatches, host, isTimed }: Profiled, device: string): string {
  const events: object[] = [
    { ph: 'M', name: 'process_name', pid: PROCESS, args: { name: `webgpu-attention on ${device}` } },
    lane(HOST, 'host'),
    ...host
      .toSorted((a, b) => a.start - b.start || b.duration - a.duration)
      .map(({ kind, name, start, duration }) => span(HOST, kind, name, start, duration)),
  ];
  if (isTimed) {
    const submit = host.find(({ kind }) => kind === 'submit');
    const offset = submit ? submit.start + submit.duration : 0;
    events.push(lane(GPU, 'GPU'));
    for (const [id, dispatch] of dispatches.entries()) {
      const { label, recorded, gpuStart = 0, gpuTime = 0, ...args } = dispatch;
      const start = offset + gpuStart;
      const arrow = { cat: 'dispatch', name: 'dispatch', id, pid: PROCESS };
      events.push({ ...span(GPU, 'kernel', label, start, gpuTime), args });
      events.push({ ...arrow, ph: 's', tid: HOST, ts: 1000 * recorded });
      events.push({ ...arrow, ph: 'f', bp: 'e', tid: GPU, ts: 1000 * start });
    }
  }
  return JSON.stringify({ displayTimeUnit: 'ms', traceEvents: events });
}

function lane(tid: number, name: string): object {
  return { ph: 'M', name: 'thread_name', pid: PROCESS, tid, args: { name } };
}

/** The format counts in microseconds. */
function span(tid: number, cat: string, name: string, start: number, duration: number): object {
  return { ph: 'X', cat, name, pid: PROCESS, tid, ts: 1000 * start, dur: 1000 * Math.max(0, duration) };
}
