/** The scores that scaledDotProductAttention returns at each of their stages. */
import { describe, expect, test } from 'vitest';
import { scaledDotProductAttention } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { Random } from '../../random.ts';
import { expectAttention, type Problem } from './attention-run.ts';
import { boolMask, floatMask, randomOperands } from './attention-suite.ts';
import type { Float } from '../upload.ts';

const op = 'scaledDotProductAttention';
const STAGES = ['scaled', 'capped', 'masked'] as const;
const DTYPES: readonly Float[] = ['float32', 'float16'];

describe.each(DTYPES)('returnScores in %s', (dtype) => {
  describe.each(STAGES)('%s', (returnScores) => {
    test.each([
      { queries: 35, keys: 41, dim: 8, heads: 4, kvHeads: 2 },
      { queries: 3, keys: 7, dim: 33 },
      { queries: 1, keys: 1, dim: 64 },
    ])('lengths $queries and $keys, head dim $dim', async (sizes) => {
      const random = new Random(1);
      const operands = randomOperands(random, sizes);
      const { queries, keys, heads = 2 } = sizes;
      const options: Partial<Problem>[] = [
        {},
        { mask: boolMask(random, [queries, keys]) },
        { mask: floatMask(random, [2, heads, queries, keys]) },
        { softcap: 1.5 },
        { softcap: 1.5, scale: -2, mask: floatMask(random, [keys]) },
        { isCausal: 'bottom-right', keyMask: boolMask(random, [2, keys], 0.7) },
        { window: { left: 5, right: 2 }, isCausal: true, softcap: 3 },
        { keyLengths: [Math.ceil(keys / 2), keys] },
        { queryOffset: [-2, 4], isCausal: true },
        { sinks: { shape: [heads], data: random.normals([heads]) } },
        { alibiSlopes: { shape: [heads], data: random.normals([heads], 0.2) } },
      ];
      for (const more of options) {
        const { scores } = await expectAttention(op, { ...operands, ...more, returnScores }, dtype);
        expect(scores).toHaveLength(2 * heads * queries * keys);
      }
    });

    test('without a head axis', async () => {
      const drop = ({ shape: [b, , ...rest], data }: Problem['q']) => ({ shape: [b, ...rest], data });
      const { q, k, v } = randomOperands(new Random(2), { heads: 1, queries: 9, keys: 13 });
      await expectAttention(
        op,
        { q: drop(q), k: drop(k), v: drop(v), softcap: 2, isCausal: true, returnScores },
        dtype,
      );
    });
  });

  test('are the only thing asked for besides the output', async () => {
    const device = await testDevice();
    device.scope(() => {
      const x = device.randn([1, 1, 5, 8], { dtype });
      for (const returnScores of STAGES) {
        expect(Object.keys(scaledDotProductAttention(x, x, x, { returnScores })).sort()).toEqual(['output', 'scores']);
      }
    });
  });
});
