/** FlashAttention in registers, the default of GPUs, which no CPU driver would choose. */
import { describe, expect, test } from 'vitest';
import type { Device } from '../../../src/index.ts';
import { testDevice, triesEveryKernel } from '../../device.ts';
import { describeInMatrix, IS_MATRIX, narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { anyMask } from './any-modifiers.ts';
import { expectAttention, type Problem, runAttention } from './attention-run.ts';
import { boolMask, floatMask, map, randomOperands } from './attention-suite.ts';
import { pinKernel, skipOnWideSubgroups } from './pinned.ts';

const NAMES = [
  '64x64-8x8',
  '32x128-8x8',
  '64x64-4x8',
  '32x128-4x8',
  '32x64-8x4',
  '32x64-4x8',
  '16x128-4x8',
  '32x32-4x4',
  '16x64-4x4',
].map((tile) => `register-${tile}`);
const CACHE_NAMES = ['64x64-4x8', '32x64-4x8', '32x32-4x4'].map((tile) => `cache-${tile}`);

/** The kernels that compile the fastest. */
const FAST_NAMES = ['register-32x32-4x4', 'cache-32x32-4x4'];
// a CPU driver with wide subgroups takes a minute and more to compile what the tests of one tile need, so it has the largest besides
const { traits } = await testDevice();
const isBroad = await triesEveryKernel();
const compilesFast = !traits.isSoftware || traits.subgroupSize < 8;
const ALL_NAMES = compilesFast ? [...NAMES, ...CACHE_NAMES] : [...FAST_NAMES, 'register-64x64-8x8'];

describe.each(narrow(FAST_NAMES, ALL_NAMES))('%s', (name) => {
  pinKernel('flashAttention', name, 'float32', 64);

  const random = new Random(21);
  // of one bucket, and of vectors, so that few kernels are compiled
  const [dim, valueDim] = IS_MATRIX ? [60, 64] : [28, 32];
  const [oddDim, oddValueDim] = [dim - 1, dim + 3];
  const operandsOf = (queries: number, keys: number, sizes = {}) =>
    randomOperands(random, { batch: 1, heads: 2, kvHeads: 1, queries, keys, dim, valueDim, ...sizes });

  test.each([
    [1, 1],
    [64, 128],
    [70, 150],
    [130, 33],
  ])('lengths %i and %i, whole or in a band', async (queries, keys) => {
    // one query of a group's heads would share a tile, which is another kernel
    const operands = operandsOf(queries, keys, queries === 1 ? { kvHeads: 2 } : {});
    for (const options of [
      {},
      { isCausal: true },
      { isCausal: 'bottom-right' as const },
      { window: { left: 20, right: 9 } },
      { window: { left: 0, right: 0 }, queryOffset: 5 },
    ]) {
      await expectAttention('flashAttention', { ...operands, ...options }, 'float32');
    }
  });

  test('masks of every kind, sinks, lengths and offsets of each batch entry', async () => {
    const [queries, keys] = [40, 140];
    const operands = operandsOf(queries, keys, { batch: 2 });
    for (const options of [
      { mask: boolMask(random, [queries, keys]) },
      { mask: floatMask(random, [2, 1, queries, keys]), isCausal: true },
      { keyMask: boolMask(random, [2, keys], 0.7), isCausal: 'bottom-right' },
      { keyLengths: [140, 13], queryOffset: [3, -5], isCausal: true },
      { sinks: { shape: [2], data: random.normals([2]) } },
    ] satisfies Partial<Problem>[]) {
      await expectAttention('flashAttention', { ...operands, ...options }, 'float32');
    }
  });

  test('packed sequences of different lengths', async () => {
    const offsets = { queryOffsets: [0, 1, 1, 40, 45], keyOffsets: [0, 3, 40, 40, 80] };
    const operands = operandsOf(45, 80);
    for (const isCausal of [false, 'bottom-right'] as const) {
      await expectAttention('flashAttention', { ...operands, ...offsets, isCausal }, 'float32');
    }
  });

  test('NaN and infinity reach the rows that attend to them, and no others', async () => {
    const [queries, keys, hidden] = [70, 71, 38];
    const operands = operandsOf(queries, keys, { heads: 1 });
    const clean = await runAttention('flashAttention', { ...operands, isCausal: true }, 'float32');
    for (const value of [NaN, Infinity]) {
      const v = map(operands.v, (x, at) => (Math.floor(at / valueDim) === hidden ? value : x));
      const { output } = await runAttention('flashAttention', { ...operands, v, isCausal: true }, 'float32');
      output.forEach((x, at) => {
        if (Math.floor(at / valueDim) >= hidden) expect(x).toBe(value);
        else expect(x).toBeCloseTo(clean.output[at], 5);
      });
      // a key of NaN makes every row that attends to it NaN
      const k = map(operands.k, (x, at) => (Math.floor(at / dim) === hidden ? NaN : x));
      const spoilt = await runAttention('flashAttention', { ...operands, k, isCausal: true }, 'float32');
      spoilt.output.forEach((x, at) => expect(Number.isNaN(x)).toBe(Math.floor(at / valueDim) >= hidden));
    }
  });

  test('what a hidden key holds reaches no row', async () => {
    const [queries, keys] = [40, 70];
    const operands = operandsOf(queries, keys);
    const isSeen = (row: number, key: number) => key !== 30 && (key < 64 || row % 2 === 0);
    const data = Uint8Array.from({ length: queries * keys }, (_, at) =>
      Number(isSeen(Math.floor(at / keys), at % keys)),
    );
    const problem = { ...operands, mask: { shape: [queries, keys], data } };
    const poison = (columns: number) => (x: number, at: number) => (Math.floor(at / columns) % keys === 30 ? NaN : x);
    const expected = await expectAttention('flashAttention', problem, 'float32');
    const k = map(operands.k, poison(dim));
    const v = map(operands.v, poison(valueDim));
    const { output } = await runAttention('flashAttention', { ...problem, k, v }, 'float32');
    output.forEach((x, at) => expect(x).toBeCloseTo(expected.output[at], 5));
  });

  test('what lies behind the last key changes no bit', async () => {
    const keys = 70;
    const operands = operandsOf(40, keys, { kvHeads: 2 });
    // behind the keys of the first head lie those of the second
    const poison = (columns: number) => (x: number, at: number) => (at >= keys * columns ? NaN : x);
    const { output } = await runAttention('flashAttention', operands, 'float32');
    const spoilt = { ...operands, k: map(operands.k, poison(dim)), v: map(operands.v, poison(valueDim)) };
    const { output: poisoned } = await runAttention('flashAttention', spoilt, 'float32');
    const first = 40 * valueDim;
    expect(poisoned.slice(0, first)).toEqual(output.slice(0, first));
    expect(poisoned.slice(first).every(Number.isNaN)).toBe(true);
  });

  test('the same bits each time', async () => {
    const problem = { ...operandsOf(70, 150), isCausal: true };
    const first = await runAttention('flashAttention', problem, 'float32');
    for (let i = 0; i < 3; i++) expect(await runAttention('flashAttention', problem, 'float32')).toEqual(first);
  });

  describe.runIf(isBroad)('in kernels of their own', () => {
    if (!IS_MATRIX) skipOnWideSubgroups();

    test('a mask modifier and modified scores, with dropout', async () => {
      const [queries, keys] = [40, 70];
      const maskMod = (_b: number, _h: number, i: number, j: number) => (i + j) % 3 > 0;
      const problem = {
        ...operandsOf(queries, keys),
        softcap: 2,
        alibiSlopes: { shape: [2], data: random.normals([2], 0.1) },
        dropoutP: 0.3,
        dropoutSeed: 5,
        maskMod,
        modifiers: (device: Device) => ({ maskMod: anyMask(device, [1, 1, queries, keys], maskMod) }),
      };
      await expectAttention('flashAttention', problem, 'float32');
      await expectAttention('flashAttention', { ...problem, window: { left: 30, right: 3 } }, 'float32');
    });

    test('heads of a group in one tile, and keys that are split', async () => {
      const operands = randomOperands(random, { heads: 6, kvHeads: 2, queries: 3, keys: 1100, dim, valueDim });
      await expectAttention('flashAttention', operands, 'float32');
      await expectAttention('flashAttention', { ...operands, isCausal: 'bottom-right' }, 'float32');
    });

    test('dims and strides that are no vectors', async () => {
      const operands = operandsOf(37, 75, { heads: 3, kvHeads: 3, dim: oddDim, valueDim: oddValueDim });
      await expectAttention('flashAttention', operands, 'float32');
      const layouts = { q: { axes: [0, 2, 1, 3] }, k: { axes: [0, 1, 3, 2] }, v: { before: [0, 0, 1, 1] } };
      await expectAttention('flashAttention', { ...operands, layouts, isCausal: true }, 'float32');
    });

    test.runIf(IS_MATRIX)('float16, in a band and under a mask', async () => {
      const operands = operandsOf(70, 150, { dim: valueDim });
      await expectAttention('flashAttention', { ...operands, isCausal: true }, 'float16');
      await expectAttention('flashAttention', { ...operands, mask: floatMask(random, [70, 150]) }, 'float16');
    });

    test.runIf(IS_MATRIX)('head dims whose rows of Q do not fit workgroup memory', async () => {
      const operands = operandsOf(70, 75, { dim: 300 });
      await expectAttention('flashAttention', { ...operands, isCausal: true }, 'float32');
    });

    test.runIf(IS_MATRIX)('float16 of such head dims, and of as many value dims', async () => {
      const operands = operandsOf(70, 150, { dim: 512, valueDim: 512 });
      await expectAttention('flashAttention', operands, 'float16');
    });

    test.runIf(IS_MATRIX)('float16 of odd dims', async () => {
      const operands = operandsOf(70, 75, { dim: oddDim, valueDim: oddValueDim });
      await expectAttention('flashAttention', operands, 'float16');
    });
  });
});

describeInMatrix('register-16x128-4x8', () => {
  pinKernel('flashAttention', 'register-16x128-4x8', 'float32', 200);

  test.each([
    [40, 250],
    [200, 129],
  ])('head dim %i and value dim %i, whose columns two workgroups divide', async (dim, valueDim) => {
    const random = new Random(dim);
    const operands = randomOperands(random, { heads: 4, kvHeads: 2, queries: 20, keys: 140, dim, valueDim });
    await expectAttention('flashAttention', { ...operands, isCausal: 'bottom-right' }, 'float32');
    const v = map(operands.v, (x, at) => (Math.floor(at / valueDim) % 140 === 3 ? NaN : x));
    const data = Uint8Array.from({ length: 140 }, (_, key) => Number(key !== 3));
    await expectAttention('flashAttention', { ...operands, v, mask: { shape: [140], data } }, 'float32');
  });
});
