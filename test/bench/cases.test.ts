import { describe, expect, test } from 'vitest';
import { caseName, fullSet, QUICK } from '../../bench/cases.ts';
import { flopsOf, largestTensor } from '../../bench/cost.ts';
import { sampledRows } from '../../bench/measure.ts';

const HARDWARE = { isSoftware: false, maxStorageBufferBindingSize: 2 ** 31 };
const SOFTWARE = { isSoftware: true, maxStorageBufferBindingSize: 2 ** 27 };

test('a name has everything that distinguishes a case', () => {
  const plain = { op: 'flashAttention', shape: [1, 8, 1024, 64], dtype: 'float32', causal: false } as const;
  expect(caseName(plain)).toBe('flashAttention 1x8x1024x64 float32');
  expect(caseName({ ...plain, dtype: 'float16', causal: true, mask: 'bool', kvHeads: 2, keyLength: 77 })).toBe(
    'flashAttention 1x8x1024x64 kv-heads=2 keys=77 causal bool-mask float16',
  );
  expect(caseName({ ...plain, op: 'LocalAttention', shape: [1, 512, 512], heads: 8, window: 32 })).toBe(
    'LocalAttention 1x512x512 heads=8 window=32 float32',
  );
  expect(caseName({ ...plain, causal: true, window: 256, via: 'block-mask' })).toBe(
    'flashAttention 1x8x1024x64 window=256 causal block-mask float32',
  );
  expect(caseName({ ...plain, softcap: 20, alibi: true, sinks: true, via: 'score-mod', keyLengths: [3, 4] })).toBe(
    'flashAttention 1x8x1024x64 key-lengths=3,4 softcap=20 alibi sinks score-mod float32',
  );
  expect(caseName({ ...plain, op: 'mergeAttention', parts: 4 })).toBe('mergeAttention 1x8x1024x64 parts=4 float32');
});

describe('the full set', () => {
  test('has no name twice, and holds the quick one', () => {
    const names = fullSet(HARDWARE).map(caseName);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(expect.arrayContaining(QUICK.map(caseName)));
  });

  test('covers every op, both dtypes, each kind of mask, windows, shared keys and other key lengths', () => {
    const cases = fullSet(HARDWARE);
    expect(new Set(cases.map(({ op }) => op)).size).toBe(17);
    expect(new Set(cases.map(({ mask }) => mask))).toEqual(new Set([undefined, 'bool', 'float', 'key']));
    for (const has of ['window', 'kvHeads', 'keyLength', 'keyLengths', 'softcap', 'alibi', 'sinks', 'parts'] as const) {
      expect(cases.some((bench) => bench[has] !== undefined)).toBe(true);
    }
    expect(cases.some(({ dtype, causal }) => dtype === 'float16' && causal)).toBe(true);
    expect(cases.map(caseName)).toContain('flashAttention 1x16x4096x128 float16');
  });

  test('has what modifiers reproduce beside them, in the same set', () => {
    for (const cases of [QUICK, fullSet(HARDWARE)]) {
      const names = new Set(cases.map(caseName));
      const scored = cases.filter(({ via }) => via === 'score-mod');
      expect(scored.length).toBeGreaterThan(1);
      for (const bench of scored) expect(names).toContain(caseName({ ...bench, via: undefined }));
    }
    const names = new Set(fullSet(HARDWARE).map(caseName));
    const masked = fullSet(HARDWARE).filter(({ via }) => via === 'mask-mod' || via === 'block-mask');
    for (const bench of masked) {
      expect(bench.causal).toBe(true); // as the ready-made modifiers are
      expect(names).toContain(caseName({ ...bench, via: undefined }));
      expect(names).toContain(caseName({ ...bench, via: undefined, causal: false, window: undefined }));
    }
  });

  test('decodes at every power of two from 512 to 32768, from tensors and from both caches', () => {
    const cases = fullSet(HARDWARE).filter((bench) => bench.shape[2] === 1 && bench.shape[1] === 8 && !bench.kvHeads);
    const lengths = [512, 1024, 2048, 4096, 8192, 16384, 32768];
    for (const op of ['flashAttention', 'KeyValueCache.attend', 'PagedKeyValueCache.attend']) {
      const own = cases.filter((bench) => bench.op === op && bench.dtype === 'float32');
      expect(own.map(({ keyLength }) => keyLength!).sort((a, b) => a - b)).toEqual(lengths);
    }
  });

  test('trains, fused and materialised at the same lengths', () => {
    for (const cases of [QUICK, fullSet(HARDWARE)]) {
      const lengthsOf = (op: string) =>
        cases
          .filter((bench) => bench.op === op && caseName(bench) === `${op} 1x8x${bench.shape[2]}x64 float32`)
          .map(({ shape }) => shape[2]);
      const materialised = lengthsOf('scaledDotProductAttention.train');
      expect(materialised.length).toBeGreaterThan(1);
      expect(lengthsOf('flashAttention.train')).toEqual(expect.arrayContaining(materialised));
      expect(cases.some(({ op, causal }) => op === 'flashAttention.train' && causal)).toBe(true);
      expect(cases.filter(({ op }) => op === 'localAttention.train').length).toBeGreaterThan(1);
    }
  });

  test('in software leaves out what takes too long or does not fit a binding', () => {
    const names = new Set(QUICK.map(caseName));
    const cases = fullSet(SOFTWARE);
    expect(cases.length).toBeLessThan(fullSet(HARDWARE).length);
    for (const bench of cases.filter((candidate) => !names.has(caseName(candidate)))) {
      expect(flopsOf(bench)).toBeLessThanOrEqual(10e9);
      expect(largestTensor(bench)).toBeLessThanOrEqual(2 ** 27);
    }
  });

  test('has heads that divide the widths of modules, and windows where they belong', () => {
    for (const { op, shape, heads, window, kvHeads, keyLengths } of fullSet(HARDWARE)) {
      expect(heads !== undefined).toBe(shape.length === 3);
      expect(shape.at(-1)! % (heads ?? 1)).toBe(0);
      if (op.startsWith('localAttention') || op === 'LocalAttention') expect(window).toBeDefined();
      else if (window !== undefined) expect(op).toMatch(/^flashAttention/);
      if (keyLengths) expect(keyLengths).toHaveLength(shape[0]);
      if (kvHeads !== undefined) expect(shape[1] % kvHeads).toBe(0);
    }
  });
});

test.each([
  [1, [0]],
  [3, [0, 1, 2]],
  [16, Array.from({ length: 16 }, (_, i) => i)],
])('of %d rows, %j are looked at', (rows, sampled) => expect(sampledRows(rows)).toEqual(sampled));

test('of many rows, the first, the last and different ones between are looked at', () => {
  const rows = sampledRows(8192);
  expect(rows[0]).toBe(0);
  expect(rows.at(-1)).toBe(8191);
  expect(new Set(rows).size).toBe(16);
  expect(new Set(rows.map((row) => row % 64)).size).toBeGreaterThan(8);
});
