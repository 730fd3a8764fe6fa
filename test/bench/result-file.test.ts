import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { saveResult } from '../../bench/result-file.ts';
import { formatResult, parseResult } from '../../bench/result-text.ts';
import { ArgumentError } from '../../src/index.ts';
import { caseOf, resultOf, timing } from './results.ts';

const peers = {
  date: '2026-01-02T03:04:05.678Z',
  rows: [{ name: 'matmul', entries: [{ library: 'other', version: '1', isWebGpu: true, timing: timing(3) }] }],
};
const whole = resultOf(
  [caseOf('a', { window: 3, keyLengths: [1, 2], alibi: true, via: 'score-mod' }), caseOf('b', { gpu: undefined })],
  {
    failures: [{ name: 'c', reason: 'wrong' }],
    peers,
  },
);

describe('a result', () => {
  test('comes back as it was written', () => {
    expect(parseResult(formatResult(whole), 'a.json')).toEqual(JSON.parse(JSON.stringify(whole)));
  });

  test('has shapes on one line, six digits, and a line break at its end', () => {
    const text = formatResult(resultOf([caseOf('a', { gflops: 1 / 3, error: 1.23456789e-7 })]));
    expect(text).toContain('"shape": [1, 8, 8, 8],');
    expect(text).toContain('"gflops": 0.333333,');
    expect(text).toContain('"error": 1.23457e-7,');
    expect(text.endsWith('}\n')).toBe(true);
  });
});

describe('a value that is not a result is refused', () => {
  const change = (mend: (result: { [key: string]: never }) => void) => {
    const copy = structuredClone(whole) as never;
    mend(copy);
    return JSON.stringify(copy);
  };

  test.each([
    ['{', 'bench: a.json must be JSON: '],
    ['null', "bench: a.json must be a benchmark's result, got one in which format must be 1, got undefined"],
    ['[]', 'format must be 1, got undefined'],
    [JSON.stringify({ ...whole, format: 2 }), 'format must be 1, got 2'],
    [JSON.stringify({ format: 1 }), 'date must be a string, got undefined'],
    [JSON.stringify({ ...whole, cases: {} }), 'cases must be a list, got {}'],
    [JSON.stringify({ ...whole, host: null }), 'host must be an object, got null'],
    [change((copy) => delete copy['roof']['copyGBs']), 'roof.copyGBs must be a number, got undefined'],
    [
      change((copy) => (copy['cases'][1]['wall']['median'] = null as never)),
      'cases[1].wall.median must be a number, got null',
    ],
    [change((copy) => (copy['cases'][0]['shape'][2] = '8' as never)), 'cases[0].shape[2] must be a number, got "8"'],
    [change((copy) => (copy['cases'][0]['window'] = true as never)), 'cases[0].window must be a number, got true'],
    [change((copy) => (copy['cases'][0]['keyLengths'] = 2 as never)), 'cases[0].keyLengths must be a list, got 2'],
    [change((copy) => (copy['cases'][0]['via'] = 1 as never)), 'cases[0].via must be a string, got 1'],
    [
      change((copy) => delete copy['peers']['rows'][0]['entries'][0]['isWebGpu']),
      'peers.rows[0].entries[0].isWebGpu must be a boolean',
    ],
  ])('%#', (text, message) => {
    expect(() => parseResult(text, 'a.json')).toThrow(ArgumentError);
    expect(() => parseResult(text, 'a.json')).toThrow(message);
  });
});

test('a device keeps one file, and its peers until the driver changes', async () => {
  const root = mkdtempSync(join(tmpdir(), 'webgpu-attention-results-'));
  const folder = join(root, 'results');
  const read = (path: string) => parseResult(readFileSync(path, 'utf8'), path);
  const { path } = await saveResult(whole, folder);
  expect(path).toBe(join(folder, 'some-gpu.json'));
  const saved = await saveResult(resultOf([caseOf('new')]), folder);
  expect(saved.path).toBe(path);
  expect(saved.whole.peers).toEqual(whole.peers);
  expect(read(path).cases.map(({ name }) => name)).toEqual(['new']);
  expect(read(path).peers).toEqual(peers);
  const { device } = whole;
  await saveResult(resultOf([caseOf('new')], { device: { ...device, description: 'driver 2' } }), folder);
  expect(read(path).peers).toBeUndefined();
  rmSync(root, { recursive: true });
});
