import { describe, expect, test } from 'vitest';
import type { Window } from '../../../src/index.ts';
import { Random } from '../../random.ts';
import { expectClose } from '../../reference/compare.ts';
import { tolerances } from '../../reference/tolerances.ts';
import { expectAttention, runAttention } from './attention-run.ts';
import { boolMask, describeAttention, floatMask, map, randomOperands } from './attention-suite.ts';
import { pinKernel } from './pinned.ts';

describeAttention('localAttention');

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

describe('localAttention', () => {
  describe.each(WINDOWS)('window %i to the left and %i to the right', (left, right) => {
    test.each([
      [41, 41],
      [35, 70],
      [70, 35],
      [3, 100],
      [100, 3],
    ])('lengths %i and %i', async (queries, keys) => {
      const operands = randomOperands(new Random(queries), { batch: 1, queries, keys });
      for (const align of [undefined, 'top-left', 'bottom-right'] as const) {
        for (const isCausal of [false, 'top-left', 'bottom-right'] as const) {
          const window: Window = align ? { left, right, align } : { left, right };
          await expectAttention('localAttention', { ...operands, window, isCausal }, 'float32');
        }
      }
    });
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

  test.each([
    ['float32', 256],
    ['float16', 160],
  ] as const)('%s, head and value dim %i', async (dtype, dim) => {
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

describe('localAttention, pinned to tile-32x32', () => {
  pinKernel('localAttention', 'tile-32x32');

  test.each(WINDOWS)('window %i to the left and %i to the right', async (left, right) => {
    for (const [queries, keys] of [
      [41, 41],
      [35, 70],
      [70, 35],
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

  test('with masks of every kind', async () => {
    const random = new Random(2);
    const operands = randomOperands(random, { heads: 4, kvHeads: 2, queries: 70, keys: 65, dim: 20, valueDim: 7 });
    const masks = { mask: floatMask(random, [2, 1, 70, 65]), keyMask: boolMask(random, [2, 65], 0.7) };
    for (const dtype of ['float32', 'float16'] as const) {
      await expectAttention('localAttention', { ...operands, ...masks, window: { left: 4, right: 9 } }, dtype);
    }
  });
});
