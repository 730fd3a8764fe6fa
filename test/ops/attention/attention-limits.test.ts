/**
 * Lengths, batches and heads past what 16 bits hold, and more workgroups than one dimension has, unlike the folded launches
 * of withWorkgroupLimit, for real. Dims are tiny; what takes a software driver long is of the matrix alone.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Device } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { describeInMatrix } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { attention } from '../../reference/attention.ts';
import { expectClose } from '../../reference/compare.ts';
import { slice } from '../../reference/host-array.ts';
import { tolerances } from '../../reference/tolerances.ts';
import { expectGradients } from './attention-backward-run.ts';
import { ATTENTION_OPS, expectAttention, runAttention } from './attention-run.ts';
import { randomOperands } from './attention-suite.ts';
import { pinKernel } from './pinned.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const MORE = 2 ** 16 + 1;
const ONE = { batch: 1, heads: 1, dim: 2 };

/** Sums of so many terms round more. */
const MANY = { isFar: true, maxProduct: 20 };

describe.each(ATTENTION_OPS)('%s', (op) => {
  test(`${MORE} keys`, async () => {
    const operands = randomOperands(new Random(1), { ...ONE, queries: 1, keys: MORE });
    await expectAttention(op, operands, 'float32', MANY);
    await expectAttention(op, { ...operands, keyLengths: [MORE - 1] }, 'float32', MANY);
  });
});

describeInMatrix('many', () => {
  describe.each(ATTENTION_OPS)('%s', (op) => {
    test(`${MORE} queries`, async () => {
      const operands = randomOperands(new Random(2), { ...ONE, queries: MORE, keys: 3 });
      await expectAttention(op, operands, 'float32');
    });

    test('a million keys', async () => {
      const operands = randomOperands(new Random(3), { ...ONE, queries: 1, keys: 2 ** 20 });
      await expectAttention(op, operands, 'float32', { ...MANY, maxProduct: 100 });
    });

    test.each([
      ['batch entries', { batch: 70_000, heads: 1 }],
      ['heads', { batch: 1, heads: 70_000 }],
      ['heads that share keys', { batch: 1, heads: 70_000, kvHeads: 35_000 }],
    ])('70,000 %s, each with workgroups of its own', async (_name, sizes) => {
      const operands = randomOperands(new Random(4), { ...sizes, queries: 2, keys: 3, dim: 2 });
      await expectAttention(op, operands, 'float32');
    });
  });

  // the tiles that one driver takes by itself need minutes for so many workgroups
  describe('gradients of flashAttention', () => {
    pinKernel('attentionGradient', 'subgroup', 'float32', 2);
    test('70,000 batch entries', async () => {
      const operands = randomOperands(new Random(5), { batch: 70_000, heads: 1, queries: 1, keys: 2, dim: 2 });
      const shape = [70_000, 1, 1, 2];
      const output = { shape, data: new Random(6).normals(shape) };
      await expectGradients('flashAttention', operands, { output }, 'float32');
    });
  });

  // the scores of all pairs would not fit
  test.each(['flashAttention', 'localAttention'] as const)(
    `%s of ${MORE} queries and keys, in a window`,
    async (op) => {
      const operands = randomOperands(new Random(7), { ...ONE, queries: MORE, keys: MORE });
      const { output } = await runAttention(op, { ...operands, window: { left: 2, right: 1 } }, 'float32');
      for (const i of [0, 1, 31, 32, 32_768, 65_535, MORE - 1]) {
        const [k, v] = [operands.k, operands.v].map((x) => slice(x, 2, Math.max(0, i - 2), Math.min(MORE, i + 2)));
        const wanted = attention(slice(operands.q, 2, i, i + 1), k, v).output.data;
        expectClose(output.subarray(2 * i, 2 * i + 2), wanted, tolerances.float32.attention, `row ${i}`);
      }
    },
  );
});
