import { describe, expect, test, vi } from 'vitest';
import { flashAttention, scaledDotProductAttention } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { Random } from '../../random.ts';
import { expectAttention } from './attention-run.ts';
import { boolMask, describeAttention, floatMask, randomOperands } from './attention-suite.ts';

describeAttention('scaledDotProductAttention');

describe('scaledDotProductAttention', () => {
  test.each([
    ['float32', 300],
    ['float16', 300],
    ['float32', 512],
  ] as const)('%s, head dim and value dim %i', async (dtype, dim) => {
    const operands = randomOperands(new Random(dim), { batch: 1, queries: 5, keys: 37, dim });
    await expectAttention('scaledDotProductAttention', operands, dtype);
  });

  test.each(['float32', 'float16'] as const)('%s, rows longer than a workgroup', async (dtype) => {
    const random = new Random(1);
    const operands = randomOperands(random, { heads: 2, kvHeads: 1, queries: 7, keys: 531 });
    await expectAttention('scaledDotProductAttention', operands, dtype);
    const masks = { mask: floatMask(random, [7, 531]), keyMask: boolMask(random, [2, 531]) };
    await expectAttention('scaledDotProductAttention', { ...operands, ...masks, isCausal: 'bottom-right' }, dtype);
  });

  test('many tiles of 64 × 64', async () => {
    const operands = randomOperands(new Random(2), {
      batch: 4,
      heads: 16,
      queries: 33,
      keys: 35,
      dim: 3,
      valueDim: 34,
    });
    await expectAttention('scaledDotProductAttention', operands, 'float32');
  });

  test('keeps its scores in the kernel where no buffer holds them all', async () => {
    const device = await testDevice();
    const [q, k, v] = [70, 80, 80].map((length, seed) => device.randn([2, 2, length, 8], { seed }));
    const options = { isCausal: true, returnLogSumExp: true } as const;
    const expected = flashAttention(q, k, v, options);
    const largest = vi.spyOn(device, 'largest', 'get').mockReturnValue(4 * 2 * 2 * 70 * 80 - 1);
    try {
      const { output, logSumExp } = scaledDotProductAttention(q, k, v, options);
      expect(await output.data()).toEqual(await expected.output.data());
      expect(await logSumExp!.data()).toEqual(await expected.logSumExp!.data());
      expect(() => scaledDotProductAttention(q, k, v, { returnWeights: true })).toThrow('maxStorageBufferBindingSize');
    } finally {
      largest.mockRestore();
    }
  });

  test('returns each of its results alone, and none that was not asked for', async () => {
    const device = await testDevice();
    const { bare, weighed, summed } = device.scope(() => {
      const [q, k] = [device.randn([2, 3, 8], { seed: 1 }), device.randn([2, 5, 8], { seed: 2 })];
      return {
        bare: scaledDotProductAttention(q, k, k),
        weighed: scaledDotProductAttention(q, k, k, { returnWeights: true }),
        summed: scaledDotProductAttention(q, k, k, { returnLogSumExp: true }),
      };
    });
    expect([bare, weighed, summed].map((result) => Object.keys(result).sort())).toEqual([
      ['output'],
      ['output', 'weights'],
      ['logSumExp', 'output'],
    ]);
    const [output, ...others] = await Promise.all([bare, weighed, summed].map((result) => result.output.data()));
    for (const other of others) expect(other).toEqual(output);
    const weights = await weighed.weights!.data();
    for (let row = 0; row < 6; row++) {
      const sum = weights.subarray(5 * row, 5 * row + 5).reduce((total, weight) => total + weight, 0);
      expect(sum).toBeCloseTo(1, 6);
    }
    for (const result of [bare, weighed, summed]) for (const tensor of Object.values(result)) tensor.dispose();
  });
});
