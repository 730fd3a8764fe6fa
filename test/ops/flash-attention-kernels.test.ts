/** The kernels that this device may not choose by itself. */
import { describe, expect, test } from 'vitest';
import { Random } from '../random.ts';
import { expectAttention, runAttention } from './attention-run.ts';
import { boolMask, describeAttention, floatMask, map, randomOperands } from './attention-suite.ts';
import { pinKernel } from './pinned.ts';

describe('pinned to tile-32x32', () => {
  pinKernel('flashAttention', 'tile-32x32');
  describeAttention('flashAttention');
});

describe.each(['tile-8x32', 'tile-64x32', 'tile-16x64', 'subgroup'])('pinned to %s', (name) => {
  pinKernel('flashAttention', name);

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
