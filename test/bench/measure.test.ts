import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { kernelOf } from '../../bench/kernel.ts';
import { check, effortOn, measure, WrongResultError } from '../../bench/measure.ts';
import { prepare } from '../../bench/prepare.ts';
import type { BenchCase } from '../../bench/result.ts';
import type { Workload } from '../../bench/workload.ts';
import type { Device } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { narrow } from '../matrix/narrow.ts';

const ROOF = { f32Gflops: 100, copyGBs: 10, dispatchUs: 1, passUs: 1, submitUs: 1 };
const SMALL: BenchCase = { op: 'softmax', shape: [1, 2, 5, 7], dtype: 'float32', causal: true };

describe('each op gives what its reference expects', () => {
  const of = (op: BenchCase['op'], shape: number[], rest: Partial<BenchCase> = {}): BenchCase => ({
    op,
    shape,
    dtype: 'float32',
    causal: false,
    ...rest,
  });

  // each with a kernel that no other test compiles
  const compiled = [
    of('flashAttention', [1, 2, 12, 8], { causal: true, window: 3, via: 'mask-mod' }),
    of('flashAttention', [1, 2, 140, 8], { causal: true, window: 3, via: 'block-mask' }),
    of('flashAttention', [1, 2, 12, 8], { softcap: 2, via: 'score-mod' }),
    of('flashAttention', [1, 2, 12, 8], { alibi: true, dtype: 'float16' }),
    of('flashAttention.train', [1, 2, 8, 8], { alibi: true }),
    of('flashAttention', [1, 2, 12, 8], { causal: true, via: 'block-mask' }),
    of('flashAttention', [1, 2, 12, 8], { alibi: true, via: 'score-mod' }),
    of('PagedKeyValueCache.attend', [1, 2, 1, 8], { keyLength: 70, dtype: 'float16' }),
    of('flashAttention.train', [1, 2, 8, 8], { mask: 'bool', dtype: 'float16' }),
  ];
  test.each([
    ...narrow([], compiled),
    of('matmul', [2, 5, 7, 9]),
    of('matmul', [1, 5, 7, 9], { dtype: 'float16' }),
    SMALL,
    of('scaledDotProductAttention', [2, 2, 5, 8]),
    of('flashAttention', [2, 4, 5, 8], { kvHeads: 2, keyLength: 9 }),
    of('flashAttention', [1, 2, 5, 8], { causal: true, dtype: 'float16' }),
    of('flashAttention', [1, 2, 8, 8], { mask: 'bool' }),
    of('flashAttention', [1, 2, 8, 8], { mask: 'float' }),
    of('flashAttention', [3, 2, 8, 8], { mask: 'key' }),
    of('localAttention', [1, 2, 12, 8], { window: 2, causal: true }),
    of('SelfAttention', [2, 5, 8], { heads: 2 }),
    of('MultiHeadAttention', [2, 5, 8], { heads: 2, keyLength: 6 }),
    of('CrossAttention', [2, 5, 8], { heads: 2, keyLength: 6 }),
    of('LocalAttention', [2, 9, 8], { heads: 2, window: 2 }),
    of('flashAttention', [1, 2, 12, 8], { window: 2 }),
    of('flashAttention', [1, 2, 12, 8], { softcap: 2 }),
    of('flashAttention', [1, 2, 12, 8], { sinks: true }),
    of('flashAttention', [2, 2, 12, 8], { keyLengths: [5, 12] }),
    of('mergeAttention', [1, 2, 12, 8], { parts: 3 }),
    of('mergeAttention', [1, 2, 12, 8], { parts: 2, dtype: 'float16' }),
    of('KeyValueCache.attend', [2, 4, 1, 8], { kvHeads: 2, keyLength: 70 }),
    of('PagedKeyValueCache.attend', [2, 4, 1, 8], { kvHeads: 2, keyLength: 70 }),
    of('scaledDotProductAttention.train', [2, 2, 6, 8], { causal: true }),
    of('flashAttention.train', [2, 4, 6, 8], { kvHeads: 2, keyLength: 9 }),
    of('localAttention.train', [1, 2, 40, 8], { window: 2, causal: true }),
    of('KeyValueCache.append', [2, 2, 3, 8], { keyLength: 7 }),
    of('PagedKeyValueCache.append', [2, 2, 3, 8], { keyLength: 70, dtype: 'float16' }),
  ])('%j', async (bench) => {
    const device = await testDevice();
    const workload = await prepare(device, bench);
    const { error, tolerance } = await check(device, bench, workload);
    workload.dispose();
    expect(error).toBeLessThanOrEqual(tolerance);
    expect(tolerance).toBeGreaterThan(0);
  });
});

describe('the check', () => {
  let device: Device;
  let workload: Workload;

  beforeAll(async () => {
    device = await testDevice();
    workload = await prepare(device, SMALL);
  });

  afterAll(() => workload.dispose());

  /** With an expected number of the last row replaced. */
  const altered = (change: (value: number) => number): Workload => ({
    ...workload,
    expected: (row, output) => {
      const expected = workload.expected(row, output);
      return row === 9 ? { row: expected.row.map((value, i) => (i === 0 ? change(value) : value)) } : expected;
    },
  });

  test.each([
    ['a number that is off', (value: number) => value + 1e-3],
    ['what only a row of larger numbers may be off', (value: number) => value + 1.5e-5],
    ['NaN', () => NaN],
  ])('refuses %s', async (_name, change) => {
    await expect(check(device, SMALL, altered(change))).rejects.toThrow(WrongResultError);
    await expect(check(device, SMALL, altered(change))).rejects.toThrow(
      'softmax 1x2x5x7 causal float32: the result must be',
    );
  });

  test.each([0, 1, 2, 3])('looks at each output of a training case, as number %i', async (wrong) => {
    const bench: BenchCase = { ...SMALL, op: 'flashAttention.train', shape: [1, 2, 5, 8] };
    const prepared = await prepare(device, bench);
    const spoilt: Workload = {
      ...prepared,
      expected(row, output) {
        const { row: right, size } = prepared.expected(row, output);
        return { row: output === wrong && row === 9 ? right.map((value) => value + 1e-3) : right, size };
      },
    };
    await expect(check(device, bench, spoilt)).rejects.toThrow(`off in row 9 of output ${wrong}`);
    prepared.dispose();
  });

  test('has different numbers in each case, so that no kernel passes with what another left behind', async () => {
    const ops = ['scaledDotProductAttention', 'flashAttention'] as const;
    const [first, second] = await Promise.all(
      ops.map(async (op) => {
        const prepared = await prepare(device, { op, shape: [1, 2, 4, 4], dtype: 'float32', causal: false });
        prepared.dispose();
        return prepared.expected(0, 0);
      }),
    );
    expect(first).not.toEqual(second);
  });

  test('tells the memory that a call takes beyond inputs and outputs', async () => {
    const materialised: BenchCase = { ...SMALL, op: 'scaledDotProductAttention', shape: [1, 2, 64, 8] };
    const weights = 4 * 2 * 64 * 64;
    for (const [bench, least, most] of [
      [SMALL, 0, 0],
      [materialised, weights, 3 * weights],
      [{ ...materialised, op: 'scaledDotProductAttention.train' }, 2 * weights, 6 * weights],
      [{ ...materialised, op: 'flashAttention.train' }, 0, weights],
    ] as const) {
      const prepared = await prepare(device, bench);
      const { extraBytes } = await check(device, bench, prepared);
      prepared.dispose();
      expect(extraBytes).toBeGreaterThanOrEqual(least);
      expect(extraBytes).toBeLessThanOrEqual(most);
    }
  });
});

test('a measured case has times, and rates that follow from them', async () => {
  const device = await testDevice();
  const live = device.memory().live;
  const result = await measure(device, SMALL, ROOF, effortOn(device, 2));
  expect(device.memory().live).toBe(live);
  const { median, runs } = result.gpu ?? result.wall;
  expect(runs).toBe(2);
  expect(result.wall.runs).toBe(2);
  expect(median).toSatisfy(Number.isFinite);
  expect(result.flops).toBe(5 * 2 * 15);
  expect(result.gflops).toBeCloseTo(result.flops / median / 1e6, 10);
  expect(result.roofShare).toBeCloseTo(result.gflops / (10 * (result.flops / result.bytes)), 10);
});

test('a case that computes nothing has the share of the bandwidth', async () => {
  const device = await testDevice();
  const bench: BenchCase = { ...SMALL, op: 'KeyValueCache.append', shape: [1, 2, 1, 8], keyLength: 3, causal: false };
  const { gpu, wall, bytes, gflops, gbs, roofShare } = await measure(device, bench, ROOF, effortOn(device, 4)); // past the capacity
  expect(gflops).toBe(0);
  expect(gbs).toBe(bytes / (gpu ?? wall).median / 1e6);
  expect(roofShare).toBeCloseTo(gbs / ROOF.copyGBs, 10);
});

test('the kernel that ran is named as info names it', async () => {
  const device = await testDevice();
  const kernel = (rest: Partial<BenchCase>) => kernelOf(device, { ...SMALL, ...rest });
  const flash = { op: 'flashAttention', shape: [1, 8, 1024, 64] } as const;
  expect(kernel(flash)).toMatch(/^(tile-\d+x\d+|subgroup)/);
  expect(kernel({ op: 'LocalAttention', shape: [1, 80, 64], heads: 2, window: 4 })).toMatch(/^(tile-\d+x\d+|subgroup)/);
  // few queries have a kernel of their own, which a cache's share
  const decoding = { shape: [1, 8, 1, 64], keyLength: 4096 };
  expect(kernel({ ...flash, ...decoding })).not.toBe(kernel(flash));
  expect(kernel({ ...decoding, op: 'PagedKeyValueCache.attend' })).toBe(kernel({ ...flash, ...decoding }));
  expect(kernel({ op: 'matmul', shape: [1, 64, 64, 64] })).toMatch(/^(tile-\d+x\d+|subgroup)/);
  expect(kernel({})).toBeUndefined();
  expect(kernel({ ...decoding, op: 'KeyValueCache.append' })).toBeUndefined();
});

test('memory is given back where the inputs of a case do not fit', async () => {
  const device = await testDevice();
  const live = device.memory().live;
  const huge: BenchCase = {
    op: 'LocalAttention',
    shape: [1, 4, 300],
    dtype: 'float32',
    causal: false,
    heads: 7,
    window: 1,
  };
  await expect(measure(device, huge, ROOF, effortOn(device))).rejects.toThrow(
    'LocalAttention: numHeads must divide embedDim 300, got 7',
  );
  expect(device.memory().live).toBe(live);
});
