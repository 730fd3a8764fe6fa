/** The kernels for GPUs, which a CPU driver would not choose. */
import { describe, test } from 'vitest';
import { Random } from '../random.ts';
import { expectAttention } from './attention-run.ts';
import { boolMask, describeAttention, floatMask, randomOperands } from './attention-suite.ts';
import { pinKernel } from './pinned.ts';

describe('pinned to tile-32x32', () => {
  pinKernel('flashAttention', 'tile-32x32');
  describeAttention('flashAttention');
});

describe.each(['tile-8x32', 'tile-64x32', 'tile-16x64'])('pinned to %s', (name) => {
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
});
