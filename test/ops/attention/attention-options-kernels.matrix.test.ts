/** The options by the kernels that this device may not choose by itself. */
import { describe, expect, test } from 'vitest';
import { Random } from '../../random.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { expectAttention, type Problem, referenceAttention, runAttention } from './attention-run.ts';
import { boolMask, floatMask, map, randomOperands } from './attention-suite.ts';
import { pinKernel, skipTilesOnWideSubgroups } from './pinned.ts';

const heads = 6;

function numbers(random: Random, shape: number[], deviation: number): HostArray {
  return { shape, data: random.normals(shape, deviation) };
}

function everything(random: Random, batch: number): Omit<Problem, 'q' | 'k' | 'v'> {
  return {
    softcap: 2,
    scale: 0.5,
    alibiSlopes: numbers(random, [batch, heads], 0.1),
    sinks: numbers(random, [heads], 2),
    window: { left: 300, right: 20 },
  };
}

const TILES = [
  ['tile-8x32', 'float32'],
  ['tile-32x32', 'float32'],
  ['tile-32x32', 'float16'],
] as const;
const SUBGROUPS = [
  ['subgroup', 'float32'],
  ['subgroup', 'float16'],
] as const;

describe.each([
  ['flashAttention', [...TILES, ...SUBGROUPS]],
  ['localAttention', TILES], // its other kernels are flashAttention's
] as const)('%s', (op, kernels) => {
  describe.each(kernels)('by %s in %s', (kernel, dtype) => {
    pinKernel(op, kernel, dtype);
    skipTilesOnWideSubgroups(kernel);

    test('many queries', async () => {
      const random = new Random(1);
      const [queries, keys] = [37, 70];
      const operands = randomOperands(random, { heads, kvHeads: 2, queries, keys, dim: 20 });
      for (const options of [
        everything(random, 2),
        { ...everything(random, 2), keyLengths: [70, 13], isCausal: 'bottom-right' as const },
        { ...everything(random, 2), queryOffset: [30, -9], isCausal: true },
        { mask: floatMask(random, [queries, keys]), keyMask: boolMask(random, [2, keys], 0.8), keyLengths: [0, 69] },
        { window: { left: 3, right: 2, align: 'bottom-right' as const } },
      ]) {
        await expectAttention(op, { ...operands, ...options }, dtype, { isFar: true });
      }
    });

    test('few queries', async () => {
      const random = new Random(2);
      const [queries, keys] = [2, 700];
      const operands = randomOperands(random, { heads, kvHeads: 2, queries, keys, dim: 20 });
      for (const options of [
        { isCausal: 'bottom-right' as const },
        { ...everything(random, 2), keyLengths: [700, 333], isCausal: 'bottom-right' as const },
        { ...everything(random, 2), queryOffset: [698, -1], isCausal: true },
        { mask: boolMask(random, [2, heads, queries, keys], 0.1), keyLengths: [257, 700] },
      ]) {
        await expectAttention(op, { ...operands, ...options }, dtype, { isFar: true });
      }
    });

    test('a NaN query among few', async () => {
      const [keys, dim] = [700, 20];
      const operands = randomOperands(new Random(5), { batch: 1, heads, kvHeads: 2, queries: 2, keys, dim });
      const spoilt = { ...operands, q: map(operands.q, (x, i) => (Math.floor(i / dim) === 5 ? NaN : x)) };
      const clean = await runAttention(op, operands, dtype);
      const { output } = await runAttention(op, spoilt, dtype);
      output.forEach((x, i) => {
        if (Math.floor(i / dim) === 5) expect(x).toBeNaN();
        else expect(Math.abs(x - clean.output[i])).toBeLessThan(1e-5);
      });
    });

    test('packed sequences', async () => {
      const random = new Random(3);
      const [queryOffsets, keyOffsets] = [
        [0, 1, 1, 40, 42, 45],
        [0, 300, 309, 340, 340, 380],
      ];
      const operands = randomOperands(random, { batch: 1, heads, kvHeads: 2, queries: 45, keys: 380, dim: 20 });
      for (const options of [{}, { ...everything(random, 5), isCausal: 'bottom-right' as const }]) {
        await expectAttention(op, { ...operands, ...options, queryOffsets, keyOffsets }, dtype, { isFar: true });
      }
    });

    test('values that are not finite', async () => {
      const random = new Random(4);
      const [queries, keys, dim, at] = [37, 70, 20, 30];
      const operands = randomOperands(random, { heads, kvHeads: 2, queries, keys, dim });
      const options = { ...everything(random, 2), window: { left: 9, right: -1 }, keyLengths: [70, 12] };
      for (const value of [NaN, ...(dtype === 'float32' ? [Infinity] : [])]) {
        const v = map(operands.v, (x, i) => (Math.floor(i / dim) % keys === at && i % dim === 3 ? value : x));
        const { output } = await runAttention(op, { ...operands, ...options, v }, dtype);
        const expected = referenceAttention({ ...operands, ...options, v }, dtype).output.data;
        output.forEach((x, i) => {
          if (Number.isFinite(expected[i])) expect(Math.abs(x - expected[i])).toBeLessThan(2e-3);
          else expect(x).toBe(value);
        });
        // the second batch entry has fewer keys, and rows from 40 on would be past the window
        expect(expected.filter((x) => !Number.isFinite(x))).toHaveLength(heads * queries);
      }
    });
  });
});
