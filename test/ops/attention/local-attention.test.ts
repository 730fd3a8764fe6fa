/**
 * localAttention shares its checks, its launches and all kernels but one with flashAttention, whose tests are about those.
 * These are about the window, and about the tile kernel that follows a band.
 */
import { describe, expect, test } from 'vitest';
import { localAttention, type Device } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { describeInMatrix, narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { expectClose } from '../../reference/compare.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { tolerances } from '../../reference/tolerances.ts';
import { anyMask } from './any-modifiers.ts';
import { expectAttention, runAttention } from './attention-run.ts';
import { boolMask, floatMask, map, randomOperands } from './attention-suite.ts';
import { pinKernel, skipTilesOnWideSubgroups } from './pinned.ts';
import type { Float } from '../upload.ts';

const WINDOWS: readonly (readonly [left: number, right: number])[] = [
  [0, 0],
  [1, 1],
  [3, 5],
  [-1, 0],
  [0, -1],
  [-1, 2],
  [5, -1],
  [40, 2],
  [2, 40],
  [1000, 1000],
  [-1, -1],
];

// the kernel that is localAttention's own, and one that it shares
describe.each(['tile-32x32', 'subgroup'])('by %s', (kernel) => {
  pinKernel('localAttention', kernel);

  test.each(WINDOWS)('window %i to the left and %i to the right', async (left, right) => {
    for (const [queries, keys] of [
      [41, 41],
      [35, 70],
      [70, 35],
      [3, 100],
      [100, 3],
    ]) {
      const operands = randomOperands(new Random(queries), { batch: 1, queries, keys });
      for (const align of ['top-left', 'bottom-right'] as const) {
        for (const isCausal of [false, 'bottom-right'] as const) {
          await expectAttention('localAttention', { ...operands, window: { left, right, align }, isCausal }, 'float32');
        }
      }
    }
  });
});

describe('the walk along a band', () => {
  pinKernel('localAttention', 'tile-32x32');
  skipTilesOnWideSubgroups('tile-32x32');

  test('beside what hides keys and modifies scores', async () => {
    const random = new Random(2);
    const [queries, keys] = [70, 65];
    const operands = randomOperands(random, { heads: 4, kvHeads: 2, queries, keys, dim: 20, valueDim: 7 });
    const keyMask = boolMask(random, [2, keys], 0.7);
    const window = { left: 4, right: 9 };
    for (const options of [
      { keyMask },
      { mask: boolMask(random, [queries, keys]) },
      { mask: floatMask(random, [2, 1, queries, keys]), keyMask },
      { softcap: 2, sinks: { shape: [4], data: random.normals([4]) } },
      { keyLengths: [65, 13], queryOffset: [3, -5] },
      { dropoutP: 0.3, dropoutSeed: 5 },
    ]) {
      await expectAttention('localAttention', { ...operands, ...options, window }, 'float32');
    }
  });

  test('beside a mask modifier', async () => {
    const [queries, keys] = [40, 65];
    const maskMod = (_b: number, _h: number, i: number, j: number) => (i + j) % 3 > 0;
    const modifiers = (device: Device) => ({ maskMod: anyMask(device, [1, 1, queries, keys], maskMod) });
    const operands = randomOperands(new Random(3), { queries, keys });
    const window = { left: 20, right: 9 };
    await expectAttention('localAttention', { ...operands, modifiers, maskMod, window }, 'float32');
  });

  test('of packed sequences', async () => {
    const [queryOffsets, keyOffsets] = [
      [0, 1, 1, 40, 45],
      [0, 3, 40, 40, 80],
    ];
    const operands = randomOperands(new Random(6), { batch: 1, heads: 4, kvHeads: 2, queries: 45, keys: 80 });
    const window = { left: 5, right: 2, align: 'bottom-right' as const };
    await expectAttention('localAttention', { ...operands, queryOffsets, keyOffsets, window }, 'float32');
  });

  test('of few queries of grouped heads, whose keys are split', async () => {
    const operands = randomOperands(new Random(7), { heads: 6, kvHeads: 2, queries: 3, keys: 1100 });
    for (const window of [
      { left: 600, right: 0, align: 'bottom-right' as const },
      { left: 0, right: 700 },
    ]) {
      await expectAttention('localAttention', { ...operands, window }, 'float32');
    }
  });
});

describeInMatrix('64 keys at a time', () => {
  pinKernel('localAttention', 'tile-16x64');
  skipTilesOnWideSubgroups('tile-16x64');

  test.each([
    [0, 0],
    [3, 40],
    [80, 5],
  ])('window %i to the left and %i to the right', async (left, right) => {
    const operands = randomOperands(new Random(8), { queries: 70, keys: 130 });
    await expectAttention('localAttention', { ...operands, window: { left, right } }, 'float32');
  });
});

describe('localAttention', () => {
  test.each(WINDOWS)('aligns a window of %i to the left and %i to the right with causality', async (left, right) => {
    for (const [queries, keys] of [
      [35, 70],
      [70, 35],
    ]) {
      const operands = randomOperands(new Random(queries), { batch: 1, queries, keys });
      for (const isCausal of [false, 'top-left', 'bottom-right'] as const) {
        await expectAttention('localAttention', { ...operands, window: { left, right }, isCausal }, 'float32');
      }
    }
  });

  test('takes what flashAttention takes', async () => {
    const random = new Random(9);
    const window = { left: 5, right: 3 };
    const options = { isCausal: 'bottom-right' as const, scale: 0.3 };
    for (const layout of [
      { axes: [0, 2, 1, 3] },
      { axes: [0, 1, 3, 2] },
      { before: [0, 0, 1, 1], after: [0, 0, 2, 3] },
    ]) {
      const operands = randomOperands(random, { heads: 4, kvHeads: 2, queries: 13, valueDim: 5 });
      const layouts = { q: layout, k: layout, v: layout };
      await expectAttention('localAttention', { ...operands, ...options, window, layouts }, 'float16');
    }
    const { q, k, v } = randomOperands(random, { heads: 1 });
    const drop = ({ shape: [batch, , ...rest], data }: HostArray) => ({ shape: [batch, ...rest], data });
    await expectAttention('localAttention', { q: drop(q), k: drop(k), v: drop(v), ...options, window }, 'float32');
  });

  test('returns the log-sum-exp where asked for, and leaves live memory as it was', async () => {
    const device = await testDevice();
    const { live } = device.memory();
    device.scope(() => {
      const x = device.randn([1, 1, 5, 8]);
      const window = { left: 1, right: 1 };
      expect(Object.keys(localAttention(x, x, x, { window }))).toEqual(['output']);
      const both = localAttention(x, x, x, { window, returnLogSumExp: true });
      expect(Object.keys(both).sort()).toEqual(['logSumExp', 'output']);
    });
    expect(device.memory().live).toBe(live);
  });

  test('in float16, with masks of every kind', async () => {
    const random = new Random(2);
    const [queries, keys] = [70, 65];
    const operands = randomOperands(random, { heads: 4, kvHeads: 2, queries, keys, dim: 20, valueDim: 7 });
    const keyMask = boolMask(random, [2, keys], 0.7);
    for (const mask of [boolMask(random, [queries, keys]), floatMask(random, [2, 1, queries, keys])]) {
      for (const window of [
        { left: 4, right: 4 },
        { left: 33, right: 0, align: 'bottom-right' as const },
      ]) {
        for (const dtype of ['float32', 'float16'] as const) {
          await expectAttention('localAttention', { ...operands, window, mask, keyMask }, dtype);
          await expectAttention('localAttention', { ...operands, window, isCausal: true, keyMask }, dtype);
        }
      }
    }
  });

  const wide: readonly (readonly [Float, number])[] = [
    ['float32', 256],
    ['float16', 160],
  ];
  // flashAttention's tests have the head dims, whose code is shared
  test.each(narrow([], wide))('%s, head and value dim %i', async (dtype, dim) => {
    const operands = randomOperands(new Random(dim), { batch: 1, queries: 37, keys: 41, dim });
    await expectAttention('localAttention', { ...operands, window: { left: 9, right: 3 } }, dtype);
  });

  test('a long sequence', async () => {
    const operands = randomOperands(new Random(4), { batch: 1, heads: 1, queries: 1500, keys: 1500, dim: 4 });
    await expectAttention('localAttention', { ...operands, window: { left: 8, right: 8 } }, 'float32');
  });

  test.each([NaN, Infinity, 1e30])('keys beyond the window that hold %f never leak', async (value) => {
    const [queries, keys] = [41, 41];
    const operands = randomOperands(new Random(5), { queries, keys });
    // rows up to 19 see keys up to 21
    const poison = (x: number, at: number) => (Math.floor(at / 8) % keys === 22 ? value : x);
    const poisoned = { ...operands, k: map(operands.k, poison), v: map(operands.v, poison) };
    for (const dtype of ['float32', 'float16'] as const) {
      for (const [left, right, seesIt] of [
        [2, 2, (row: number) => row >= 20 && row <= 24],
        [0, -1, (row: number) => row <= 22],
        [-1, 0, (row: number) => row >= 22],
      ] as const) {
        const window = { left, right };
        const clean = await runAttention('localAttention', { ...operands, window }, dtype);
        const { output, logSumExp } = await runAttention('localAttention', { ...poisoned, window }, dtype);
        clean.logSumExp.forEach((lse, row) => {
          if (seesIt(row % queries)) return;
          expect(logSumExp[row]).toBe(lse);
          const ofRow = (values: Float32Array) => values.subarray(8 * row, 8 * row + 8);
          expectClose(ofRow(output), ofRow(clean.output), tolerances[dtype].attention, `row ${row}`);
        });
      }
    }
  });
});
