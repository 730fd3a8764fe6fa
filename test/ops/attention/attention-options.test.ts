/** The options that the attention ops share, each and in pairs, against the float64 reference. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Device } from '../../../src/index.ts';
import { testDevice, triesEveryKernel } from '../../device.ts';
import { narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { expectClose } from '../../reference/compare.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { tolerances } from '../../reference/tolerances.ts';
import { visibility } from '../../reference/visibility.ts';
import { ATTENTION_OPS, expectEveryOp, type Problem, runAttention } from './attention-run.ts';
import { boolMask, floatMask, map, randomOperands } from './attention-suite.ts';
import type { Float } from '../upload.ts';

type Options = Omit<Problem, 'q' | 'k' | 'v'>;

const DTYPES: readonly Float[] = ['float32', 'float16'];

/** No tile divides them. One bucket of head dims: each takes as long again to compile, and options know nothing of dims. */
const SIZES = [
  { heads: 4, kvHeads: 2, queries: 35, keys: 41, dim: 8 },
  { heads: 2, kvHeads: 2, queries: 41, keys: 19, dim: 27 },
  { heads: 6, kvHeads: 1, queries: 5, keys: 70, dim: 32 },
  { heads: 2, kvHeads: 1, queries: 1, keys: 1, dim: 8 },
];

const array = (shape: number[], data: readonly number[]): HostArray => ({ shape, data: Float32Array.from(data) });
/** As in the paper (Press et al., 2022) 2^(−8/H), 2^(−16/H), …, times a factor of each batch entry. */
function slopes(heads: number, batch?: number): HostArray {
  const ofHeads = Array.from({ length: heads }, (_, h) => 2 ** ((-8 * (h + 1)) / heads));
  if (batch === undefined) return array([heads], ofHeads);
  return array(
    [batch, heads],
    Array.from({ length: batch }, (_, b) => ofHeads.map((slope) => slope * (b + 0.5))).flat(),
  );
}
const sinks = (random: Random, heads: number): HostArray => ({ shape: [heads], data: random.normals([heads], 2) });

const isBroad = await triesEveryKernel();

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

// No option knows of storage, so only the matrix has them in float16, all together and in pairs.
describe.each(narrow<Float>(['float32'], DTYPES))('%s', (dtype) => {
  describe.runIf(isBroad)('together', () => describeCombinations(dtype));
  if (dtype === 'float16') return;
  describe('softcap', () => describeSoftcap(dtype));
  describe('alibiSlopes', () => describeAlibi(dtype));
  describe('sinks', () => describeSinks(dtype));
  describe('window', () => describeWindow(dtype));
  describe('queryOffset', () => describeQueryOffset(dtype));
  describe('keyLengths', () => describeKeyLengths(dtype));
});

function describeSoftcap(dtype: Float): void {
  test.each([0.5, 2, 30, 1000])('%f', async (softcap) => {
    for (const [i, sizes] of SIZES.entries()) {
      await expectEveryOp({ ...randomOperands(new Random(i), sizes), softcap }, dtype);
    }
  });

  test('comes before masks, and keeps them', async () => {
    const random = new Random(1);
    const operands = randomOperands(random, SIZES[0]);
    for (const mask of [boolMask(random, [35, 41]), floatMask(random, [2, 4, 35, 41])]) {
      await expectEveryOp({ ...operands, mask, softcap: 0.5 }, dtype);
      await expectEveryOp({ ...operands, mask, softcap: 0.5, isCausal: 'bottom-right' }, dtype);
    }
  });

  test('of logits far beyond it', async () => {
    const random = new Random(2);
    const operands = randomOperands(random, { queries: 5, keys: 70, dim: 2 });
    for (const scale of [300, -1e4, 1e6]) {
      await expectEveryOp({ ...operands, scale, softcap: 3 }, dtype);
    }
  });
}

function describeAlibi(dtype: Float): void {
  test.each(SIZES)('$heads heads, lengths $queries and $keys', async (sizes) => {
    const operands = randomOperands(new Random(3), sizes);
    for (const alibiSlopes of [slopes(sizes.heads), slopes(sizes.heads, 2)]) {
      for (const options of [
        {},
        { asTensors: true },
        { isCausal: true },
        { isCausal: 'bottom-right' as const },
        { window: { left: 9, right: 4 } },
        { window: { left: 9, right: 4, align: 'bottom-right' as const } },
      ]) {
        await expectEveryOp({ ...operands, ...options, alibiSlopes }, dtype);
      }
    }
  });

  test('of either sign, and 0', async () => {
    const operands = randomOperands(new Random(4), SIZES[0]);
    await expectEveryOp({ ...operands, alibiSlopes: array([4], [-0.25, 0, 2, 0.125]) }, dtype, { isFar: true });
  });

  test('of keys thousands away', async () => {
    const operands = randomOperands(new Random(5), { batch: 1, heads: 2, queries: 3, keys: 3000 });
    await expectEveryOp({ ...operands, isCausal: 'bottom-right', alibiSlopes: array([2], [0.5, 2 ** -8]) }, dtype);
  });
}

function describeSinks(dtype: Float): void {
  test.each(SIZES)('$heads heads, lengths $queries and $keys', async (sizes) => {
    const random = new Random(6);
    const problem = { ...randomOperands(random, sizes), sinks: sinks(random, sizes.heads) };
    for (const asTensors of [false, true]) {
      await expectEveryOp({ ...problem, asTensors }, dtype);
      await expectEveryOp({ ...problem, asTensors, isCausal: true }, dtype);
    }
  });

  test('that outweigh every key, or none', async () => {
    const operands = randomOperands(new Random(7), SIZES[0]);
    const problem = { ...operands, sinks: array([4], [40, -Infinity, 1e4, -1e4]) };
    const results = await expectEveryOp(problem, dtype, { isFar: true });
    for (const { output, logSumExp } of Object.values(results)) {
      // batch entry 0, head 2
      expect(output.subarray(2 * 35 * 8, 3 * 35 * 8).every((x) => x === 0)).toBe(true);
      expect(logSumExp[2 * 35]).toBe(1e4);
    }
  });

  test('take all of a row without keys', async () => {
    const random = new Random(8);
    const { batch, heads, queries, keys } = { batch: 2, heads: 4, queries: 35, keys: 41 };
    const operands = randomOperands(random, { batch, heads, queries, keys });
    const problem = { ...operands, sinks: sinks(random, heads) };
    const everyOther = Uint8Array.from({ length: queries * keys }, (_, at) => Math.floor(at / keys) % 2);
    for (const options of [
      { mask: { shape: [queries, keys], data: everyOther } },
      { mask: { shape: [1], data: Uint8Array.of(0) } },
      { keyLengths: [0, 7] },
      { isCausal: true, queryOffset: -30 },
    ]) {
      const results = await expectEveryOp({ ...problem, ...options }, dtype);
      for (const { output, logSumExp } of Object.values(results)) {
        const head = 3;
        const row = head * queries;
        expect(output.subarray(row * 8, (row + 1) * 8)).toEqual(new Float32Array(8));
        expect(logSumExp[row]).toBeCloseTo(problem.sinks.data[head], 5);
      }
    }
  });
}

/** Lengths, and windows whose bands lie inside, across the edges and beyond. */
const BANDS = [
  { left: 0, right: 0 },
  { left: 3, right: 5 },
  { left: -1, right: 2 },
  { left: 12, right: -1 },
  { left: 40, right: 40 },
  { left: -1, right: -1 },
];

function describeWindow(dtype: Float): void {
  test.each(BANDS)('$left to the left, $right to the right', async (band) => {
    const lengths = [
      [35, 70],
      [70, 35],
      [1, 9],
      [41, 41],
      [3, 100],
    ];
    for (const [queries, keys] of narrow(lengths.slice(0, 3), lengths)) {
      const operands = randomOperands(new Random(queries), { batch: 1, queries, keys });
      for (const align of narrow(
        [undefined, 'bottom-right'] as const,
        [undefined, 'top-left', 'bottom-right'] as const,
      )) {
        for (const isCausal of [false, 'top-left', 'bottom-right'] as const) {
          const window = align ? { ...band, align } : band;
          await expectEveryOp({ ...operands, window, isCausal }, dtype);
        }
      }
    }
  });

  test.each(ATTENTION_OPS)('of %s is the mask that says the same', async (op) => {
    const operands = randomOperands(new Random(9), { queries: 70, keys: 90, dim: 33 });
    for (const window of [
      { left: 5, right: 2 },
      { left: 20, right: 0, align: 'bottom-right' as const },
    ]) {
      const seen = visibility([1, 1, 70, 90], { window });
      const mask = { shape: [70, 90], data: Uint8Array.from(seen.data, (x) => Number(x === 0)) };
      const [skipped, masked] = [
        await runAttention(op, { ...operands, window }, dtype),
        await runAttention(op, { ...operands, mask }, dtype),
      ];
      expectClose(skipped.output, masked.output, tolerances[dtype].attention, 'output');
      expectClose(skipped.logSumExp, masked.logSumExp, tolerances[dtype].logSumExp, 'logSumExp');
    }
  });

  test('over a long sequence', async () => {
    const operands = randomOperands(new Random(10), { batch: 1, heads: 1, queries: 900, keys: 900, dim: 4 });
    const window = { left: 8, right: 8 };
    const clean = await expectEveryOp({ ...operands, window }, dtype);
    // keys from 700 on: rows up to 691 do not see them
    const poison = (x: HostArray) => map(x, (value, at) => (at >= 700 * 4 ? NaN : value));
    const poisoned = { ...operands, k: poison(operands.k), v: poison(operands.v) };
    for (const op of ATTENTION_OPS) {
      const { output } = await runAttention(op, { ...poisoned, window }, dtype);
      const [seen, wanted] = [output, clean[op].output].map((values) => values.subarray(0, 692 * 4));
      expectClose(seen, wanted, tolerances[dtype].attention, 'output');
      expect(output.subarray(692 * 4).every(Number.isNaN)).toBe(true);
    }
  });
}

function describeQueryOffset(dtype: Float): void {
  const [queries, keys] = [35, 70];
  const operands = randomOperands(new Random(11), { heads: 4, kvHeads: 2, queries, keys });

  test.each([0, 1, 35, 69, 500, -1, -34, -35, -500])('%i', async (queryOffset) => {
    for (const options of [
      { isCausal: true },
      { isCausal: 'bottom-right' as const },
      { window: { left: 3, right: 6 } },
      { window: { left: 3, right: 6, align: 'bottom-right' as const } },
      { alibiSlopes: slopes(4) },
    ]) {
      await expectEveryOp({ ...operands, ...options, queryOffset }, dtype, { isFar: true });
    }
  });

  test('as far as it goes', async () => {
    const most = 2 ** 28;
    for (const queryOffset of [most, -most, [most, -most]]) {
      for (const options of [
        {},
        { isCausal: true },
        { window: { left: 3, right: -1 } },
        { window: { left: -1, right: 3 } },
      ]) {
        await expectEveryOp({ ...operands, ...options, queryOffset }, dtype);
      }
    }
  });

  test.each([[[0, 35]], [[-10, 10]], [[69, -60]]])('%j, one for each batch entry', async (queryOffset) => {
    for (const asTensors of [false, true]) {
      for (const options of [
        { isCausal: true },
        { isCausal: 'bottom-right' as const, window: { left: 9, right: -1 } },
        { alibiSlopes: slopes(4, 2) },
      ]) {
        await expectEveryOp({ ...operands, ...options, queryOffset, asTensors }, dtype, { isFar: true });
      }
    }
  });

  test.each(ATTENTION_OPS)('of %s changes nothing where nothing asks for positions', async (op) => {
    const plain = await runAttention(op, operands, dtype);
    expect(await runAttention(op, { ...operands, queryOffset: 7 }, dtype)).toEqual(plain);
  });
}

function describeKeyLengths(dtype: Float): void {
  const [batch, queries, keys] = [3, 35, 70];
  const operands = randomOperands(new Random(12), { batch, heads: 4, kvHeads: 2, queries, keys, valueDim: 5 });

  test.each([[[70, 70, 70]], [[0, 70, 33]], [[1, 32, 64]], [[0, 0, 0]], [[69, 2, 31]]])('%j', async (keyLengths) => {
    for (const asTensors of [false, true]) {
      for (const options of [
        {},
        { isCausal: true },
        { isCausal: 'bottom-right' as const },
        { window: { left: 5, right: 3 } },
        { window: { left: 5, right: 3, align: 'bottom-right' as const } },
      ]) {
        await expectEveryOp({ ...operands, ...options, keyLengths, asTensors }, dtype);
      }
    }
  });

  test.each([NaN, Infinity, -Infinity, 1e30])('keys past them that hold %f never leak', async (value) => {
    const keyLengths = [0, 41, 64];
    const poison = (x: HostArray) => {
      const dim = x.shape[3];
      return map(x, (kept, at) => {
        const b = Math.floor(at / (dim * keys * 2));
        return Math.floor(at / dim) % keys >= keyLengths[b] ? value : kept;
      });
    };
    const poisoned = { ...operands, k: poison(operands.k), v: poison(operands.v) };
    for (const options of [{}, { isCausal: 'bottom-right' as const }, { window: { left: 30, right: 30 } }]) {
      await expectEveryOp({ ...poisoned, ...options, keyLengths }, dtype);
    }
  });

  test('of one key, one query, and no head axis', async () => {
    const drop = ({ shape: [b, , ...rest], data }: HostArray) => ({ shape: [b, ...rest], data });
    const { q, k, v } = randomOperands(new Random(13), { heads: 1, queries: 1, keys: 1 });
    for (const keyLengths of [
      [0, 1],
      [1, 1],
    ]) {
      await expectEveryOp({ q, k, v, keyLengths }, dtype);
      const headless = { q: drop(q), k: drop(k), v: drop(v), keyLengths, isCausal: 'bottom-right' as const };
      await expectEveryOp({ ...headless, sinks: array([1], [0.5]), alibiSlopes: array([1], [0.5]) }, dtype);
    }
  });
}

function describeCombinations(dtype: Float): void {
  const [batch, heads, queries, keys] = [2, 4, 35, 41];
  const random = new Random(14);
  const operands = randomOperands(random, { batch, heads, kvHeads: 2, queries, keys });
  const single: readonly (readonly [name: string, Options])[] = [
    ['softcap', { softcap: 1.5 }],
    ['alibiSlopes [H]', { alibiSlopes: slopes(heads) }],
    ['alibiSlopes [B, H]', { alibiSlopes: slopes(heads, batch) }],
    ['sinks', { sinks: sinks(random, heads) }],
    ['window', { window: { left: 7, right: 3 } }],
    ['window, bottom-right', { window: { left: 7, right: 3, align: 'bottom-right' } }],
    ['queryOffset', { queryOffset: -5 }],
    ['queryOffset [B]', { queryOffset: [11, -4] }],
    ['keyLengths', { keyLengths: [41, 13] }],
    ['bool mask', { mask: boolMask(random, [queries, keys]) }],
    ['float mask', { mask: floatMask(random, [batch, 1, queries, keys]) }],
    ['keyMask', { keyMask: boolMask(random, [batch, keys], 0.7) }],
    ['causal', { isCausal: true }],
    ['causal, bottom-right', { isCausal: 'bottom-right' }],
    ['scale', { scale: -0.7 }],
    ['views', { layouts: { q: { axes: [0, 2, 1, 3] }, k: { before: [0, 0, 1, 1] }, v: { axes: [3, 0, 1, 2] } } }],
  ];

  test.each(single)('%s with options that follow it', async (name, options) => {
    const at = single.findIndex(([itsName]) => itsName === name);
    for (const [, other] of narrow(single.slice(at + 1, at + 3), single.slice(at))) {
      await expectEveryOp({ ...operands, ...other, ...options }, dtype, { isFar: true });
    }
  });

  test('all', async () => {
    for (const asTensors of [false, true]) {
      const all: Problem = { ...operands, ...Object.assign({}, ...single.map(([, options]) => options)), asTensors };
      await expectEveryOp(all, dtype, { isFar: true });
      await expectEveryOp({ ...all, queryOffset: undefined }, dtype, { isFar: true });
    }
  });

  test.each(ATTENTION_OPS)('of %s give the same bits each time', async (op) => {
    const [, options] = single[3];
    const problem = { ...operands, ...options, softcap: 2, keyLengths: [41, 13], alibiSlopes: slopes(heads) };
    const first = await runAttention(op, problem, dtype);
    for (let i = 0; i < 3; i++) expect(await runAttention(op, problem, dtype)).toEqual(first);
  });
}
