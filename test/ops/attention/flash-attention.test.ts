import { describe, expect, test } from 'vitest';
import { flashAttention, type Tensor } from '../../../src/index.ts';
import { HAS_DEFAULT_LIMITS, testDevice } from '../../device.ts';
import { IS_MATRIX, narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { expectGradients } from './attention-backward-run.ts';
import { expectAttention, runAttention } from './attention-run.ts';
import { boolMask, describeAttention, floatMask, map, randomOperands } from './attention-suite.ts';
import { type Float } from '../upload.ts';

describeAttention('flashAttention');

describe('flashAttention', () => {
  test.each(
    narrow<readonly [Float, number]>(
      [['float32', 256]],
      [
        ['float32', 96],
        ['float16', 111],
        ['float32', 160],
        ['float32', 256],
        ['float16', 256],
      ],
    ),
  )('%s, head and value dim %i', async (dtype, dim) => {
    const random = new Random(dim);
    const operands = randomOperands(random, { batch: 1, heads: 2, kvHeads: 1, queries: 37, keys: 41, dim });
    await expectAttention('flashAttention', operands, dtype);
    const masks = { mask: floatMask(random, [37, 41]), isCausal: 'bottom-right' as const };
    await expectAttention('flashAttention', { ...operands, ...masks }, dtype);
  });

  describe('value dims that take several passes', () => {
    const random = new Random(9);
    const sizes = { batch: 1, heads: 2, kvHeads: 1, dim: 16 };

    test('of many queries, with the log-sum-exp and gradients', async () => {
      const operands = randomOperands(random, { ...sizes, queries: 21, keys: 37, valueDim: 301 });
      await expectAttention('flashAttention', { ...operands, isCausal: 'bottom-right' }, 'float32');
      const normals = (shape: number[]) => ({ shape, data: random.normals(shape) });
      const gradients = { output: normals([1, 2, 21, 301]), logSumExp: normals([1, 2, 21]) };
      await expectGradients('flashAttention', operands, gradients, 'float32');
    });

    test.runIf(IS_MATRIX)('in float16, of strided values, and in a window', async () => {
      const operands = randomOperands(random, { ...sizes, queries: 21, keys: 37, valueDim: 514 });
      await expectAttention('flashAttention', operands, 'float16');
      await expectAttention('localAttention', { ...operands, window: { left: 9, right: 4 } }, 'float16');
      const layouts = { v: { axes: [0, 1, 3, 2] } };
      await expectAttention('flashAttention', { ...operands, layouts }, 'float32');
    });

    test('of a query whose keys are split', async () => {
      const operands = randomOperands(random, { ...sizes, queries: 1, keys: 700, valueDim: 260 });
      await expectAttention('flashAttention', operands, 'float32');
    });

    test('NaN and infinity reach only their columns', async () => {
      const [keys, valueDim] = [37, 301];
      const operands = randomOperands(random, { ...sizes, queries: 5, keys, valueDim });
      const spoilt = new Map([
        [3, NaN],
        [299, Infinity],
      ]);
      const v = map(operands.v, (x, at) => (at < valueDim ? (spoilt.get(at) ?? x) : x));
      const { output } = await runAttention('flashAttention', { ...operands, v }, 'float32');
      output.forEach((x, at) => expect(Number.isFinite(x) ? undefined : x).toBe(spoilt.get(at % valueDim)));
    });
  });

  test.for(narrow([4, 64], [4, 8, 16, 32, 64, 128]))('blockSize %i', async (blockSize, { skip }) => {
    skip(blockSize === 128 && HAS_DEFAULT_LIMITS, 'it needs more than 16 KiB of workgroup memory');
    const { traits } = await testDevice();
    skip(blockSize === 64 && traits.subgroupSize >= 8 && !IS_MATRIX, 'left to the driver that compiles it faster');
    const random = new Random(blockSize);
    for (const [queries, keys] of [
      [20, 150],
      [37, blockSize],
      [5, blockSize + 1],
      [9, 3],
    ]) {
      const problem = { ...randomOperands(random, { queries, keys }), blockSize };
      await expectAttention('flashAttention', problem, 'float32');
      await expectAttention(
        'flashAttention',
        { ...problem, isCausal: true, mask: boolMask(random, [keys]) },
        'float32',
      );
    }
  });

  test.each(narrow([], [4, 8, 64]))('blockSize %i in float16', async (blockSize) => {
    const random = new Random(blockSize);
    const problem = { ...randomOperands(random, { queries: 20, keys: 150 }), blockSize };
    await expectAttention('flashAttention', { ...problem, mask: floatMask(random, [20, 150]) }, 'float16');
  });

  test('thousands of keys, with outliers', async () => {
    const random = new Random(5);
    const operands = randomOperands(random, { batch: 1, heads: 1, queries: 40, keys: 2100 });
    await expectAttention('flashAttention', operands, 'float32');
    await expectAttention('flashAttention', { ...operands, scale: 10, isCausal: 'bottom-right' }, 'float32', {
      isFar: true,
    });
  });

  test('allocates the output and the log-sum-exp, and nothing that grows with length²', async () => {
    const device = await testDevice();
    for (const length of [64, 256, 1024]) {
      const q = device.zeros([1, 1, length, 4]);
      // fills memory up to its peak, so that every byte more is seen
      const { live, peak } = device.memory();
      const fillers: Tensor[] = [];
      for (let gap = peak - live; gap > 0; gap = peak - device.memory().live) {
        fillers.push(device.zeros([Math.ceil(Math.min(gap, 2 ** 26) / 4)]));
      }
      const before = device.memory();
      expect(before.peak).toBe(before.live);
      const { output, logSumExp } = flashAttention(q, q, q, { returnLogSumExp: true });
      const after = device.memory();
      expect(after.live - before.live).toBe(length * 4 * 4 + length * 4);
      expect(after.peak - before.peak).toBe(after.live - before.live);
      for (const tensor of [q, ...fillers, output, logSumExp]) tensor?.dispose();
      await device.sync();
    }
  });
});
