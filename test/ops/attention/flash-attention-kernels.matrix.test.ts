/** The kernels that this device may not choose by itself. */
import { describe, expect, test } from 'vitest';
import { Random } from '../../random.ts';
import { expectAttention, runAttention } from './attention-run.ts';
import { boolMask, describeAttention, floatMask, map, randomOperands } from './attention-suite.ts';
import { pinKernel, skipTilesOnWideSubgroups } from './pinned.ts';

describe('pinned to tile-32x32', () => {
  pinKernel('flashAttention', 'tile-32x32');
  describeAttention('flashAttention');
});

describe.each(['tile-8x32', 'tile-64x32', 'tile-16x64', 'subgroup'])('pinned to %s', (name) => {
  pinKernel('flashAttention', name);
  skipTilesOnWideSubgroups(name);

  test.each([
    [1, 70],
    [130, 67],
  ])('lengths %i and %i', async (queries, keys) => {
    const random = new Random(queries);
    const operands = randomOperands(random, { heads: 4, kvHeads: 2, queries, keys, dim: 24, valueDim: 20 });
    await expectAttention('flashAttention', operands, 'float32');
    await expectAttention('flashAttention', { ...operands, isCausal: 'bottom-right' }, 'float32');
    const masks = { mask: boolMask(random, [queries, keys]), keyMask: boolMask(random, [2, keys], 0.8) };
    await expectAttention('flashAttention', { ...operands, ...masks }, 'float32');
    await expectAttention(
      'flashAttention',
      { ...operands, mask: floatMask(random, [keys]), isCausal: true },
      'float32',
    );
  });

  test('few queries of grouped heads against many keys, which are split', async () => {
    const random = new Random(7);
    const sizes = { heads: 6, kvHeads: 2, queries: 3, keys: 1100, dim: 24, valueDim: 20 };
    const operands = randomOperands(random, sizes);
    const numbers = (length: number, deviation?: number) => ({
      shape: [length],
      data: random.normals([length], deviation),
    });
    for (const options of [
      {},
      { isCausal: 'bottom-right' as const, keyLengths: [1100, 389] },
      { window: { left: 600, right: 0, align: 'bottom-right' as const } },
      { softcap: 2, sinks: numbers(6), alibiSlopes: numbers(6, 0.1) },
      { mask: boolMask(random, [3, 1100], 0.2) },
    ]) {
      await expectAttention('flashAttention', { ...operands, ...options }, 'float32', { isFar: true });
    }
  });

  test('packed sequences of different lengths', async () => {
    const random = new Random(8);
    const [queryOffsets, keyOffsets] = [
      [0, 1, 1, 40, 45],
      [0, 3, 40, 40, 80],
    ];
    const operands = randomOperands(random, { batch: 1, heads: 4, kvHeads: 2, queries: 45, keys: 80, dim: 24 });
    for (const isCausal of [false, 'bottom-right'] as const) {
      await expectAttention('flashAttention', { ...operands, queryOffsets, keyOffsets, isCausal }, 'float32');
    }
  });

  test('NaN and infinity reach the rows that attend to them, and no others', async () => {
    const [queries, keys, dim, hidden] = [40, 41, 8, 38];
    const operands = randomOperands(new Random(18), { batch: 1, heads: 1, queries, keys, dim });
    const clean = await runAttention('flashAttention', { ...operands, isCausal: true }, 'float32');
    for (const value of [NaN, Infinity]) {
      const v = map(operands.v, (x, at) => (Math.floor(at / dim) === hidden ? value : x));
      const { output } = await runAttention('flashAttention', { ...operands, v, isCausal: true }, 'float32');
      output.forEach((x, at) => {
        if (Math.floor(at / dim) >= hidden) expect(x).toBe(value);
        else expect(x).toBeCloseTo(clean.output[at], 5);
      });
    }
  });
});
