import { describe, expect, test } from 'vitest';
import { caseName, fullSet, QUICK } from '../../bench/cases.ts';
import { flopsOf, largestTensor } from '../../bench/cost.ts';
import { sampledRows } from '../../bench/measure.ts';

const HARDWARE = { isSoftware: false, maxStorageBufferBindingSize: 2 ** 31 };
const SOFTWARE = { isSoftware: true, maxStorageBufferBindingSize: 2 ** 27 };

test('a name tells all that makes a case', () => {
  const plain = { op: 'flashAttention', shape: [1, 8, 1024, 64], dtype: 'float32', causal: false } as const;
  expect(caseName(plain)).toBe('flashAttention 1x8x1024x64 float32');
  expect(caseName({ ...plain, dtype: 'float16', causal: true, mask: 'bool', kvHeads: 2, keyLength: 77 })).toBe(
    'flashAttention 1x8x1024x64 kv-heads=2 keys=77 causal bool-mask float16',
  );
  expect(caseName({ ...plain, op: 'LocalAttention', shape: [1, 512, 512], heads: 8, window: 32 })).toBe(
    'LocalAttention 1x512x512 heads=8 window=32 float32',
  );
});

describe('the full set', () => {
  test('has no name twice, and holds the quick one', () => {
    const names = fullSet(HARDWARE).map(caseName);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(expect.arrayContaining(QUICK.map(caseName)));
  });

  test('covers every op, both dtypes, each kind of mask, windows, shared keys and other key lengths', () => {
    const cases = fullSet(HARDWARE);
    expect(new Set(cases.map(({ op }) => op)).size).toBe(9);
    expect(new Set(cases.map(({ mask }) => mask))).toEqual(new Set([undefined, 'bool', 'float', 'key']));
    for (const has of ['window', 'kvHeads', 'keyLength'] as const) {
      expect(cases.some((bench) => bench[has] !== undefined)).toBe(true);
    }
    expect(cases.some(({ dtype, causal }) => dtype === 'float16' && causal)).toBe(true);
    expect(cases.map(caseName)).toContain('flashAttention 1x16x4096x128 float16');
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
    for (const { op, shape, heads, window, kvHeads } of fullSet(HARDWARE)) {
      expect(heads !== undefined).toBe(shape.length === 3);
      expect(shape.at(-1)! % (heads ?? 1)).toBe(0);
      expect(window !== undefined).toBe(op === 'localAttention' || op === 'LocalAttention');
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
