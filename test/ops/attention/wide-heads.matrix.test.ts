/**
 * Heads as wide as today's models have them: 512 (Gemma's global layers), and 576 beside values of 512 that are the keys' first
 * columns (MLA). And problems drawn from the grid of llama.cpp's attention tests: head dims from 40 to 576, 1 to 12 query heads
 * for a key head, 113 to 1024 keys, 1 to 75 queries, mask, ALiBi, softcap, sinks, permuted operands.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { flashAttention, KeyValueCache, PagedKeyValueCache, type Device } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { Random } from '../../random.ts';
import { attention } from '../../reference/attention.ts';
import { attentionGradient } from '../../reference/attention-gradient.ts';
import { expectClose } from '../../reference/compare.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { tolerances } from '../../reference/tolerances.ts';
import { upload } from '../upload.ts';
import { walkBack } from '../walk-back.ts';
import { expectGradients } from './attention-backward-run.ts';
import { expectAttention, type Problem } from './attention-run.ts';
import { floatMask, randomOperands } from './attention-suite.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(5);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

describe.each([
  [512, 512],
  [576, 512],
])('head dim %i and value dim %i', (dim, valueDim) => {
  const operands = (queries: number, keys: number) =>
    randomOperands(random, { batch: 1, heads: 4, kvHeads: 1, queries, keys, dim, valueDim });
  /** Values that are the first columns of the keys. */
  const firstColumns = ({ shape: [batch, heads, keys], data }: HostArray): HostArray => ({
    shape: [batch, heads, keys, valueDim],
    data: Float32Array.from(
      { length: batch * heads * keys * valueDim },
      (_, at) => data[Math.floor(at / valueDim) * dim + (at % valueDim)],
    ),
  });

  test.each(['float32', 'float16'] as const)('a prompt and a token, in %s', async (dtype) => {
    await expectAttention('flashAttention', { ...operands(19, 45), isCausal: 'bottom-right' }, dtype);
    await expectAttention('flashAttention', operands(1, 700), dtype);
  });

  test('a window, materialised, packed', async () => {
    await expectAttention('localAttention', { ...operands(19, 45), window: { left: 9, right: 4 } }, 'float32');
    await expectAttention('scaledDotProductAttention', operands(19, 45), 'float32');
    const packed = { ...operands(20, 33), queryOffsets: [0, 7, 20], keyOffsets: [0, 12, 33] };
    await expectAttention('flashAttention', packed, 'float32');
  });

  test('gradients', async () => {
    const gradients = { output: normals(1, 4, 11, valueDim), logSumExp: normals(1, 4, 11) };
    await expectGradients('flashAttention', { ...operands(11, 21), isCausal: 'bottom-right' }, gradients, 'float32');
  });

  test('values that are a view of the keys, with the gradient of both uses', async () => {
    const { q, k } = operands(5, 21);
    const v = firstColumns(k);
    const dOutput = normals(1, 4, 5, valueDim);
    const expected = attentionGradient(q, k, v, { output: dOutput }, {});
    const both = Float64Array.from(expected.k.data);
    expected.v.data.forEach((value, at) => (both[Math.floor(at / valueDim) * dim + (at % valueDim)] += value));
    const keys = device.tensor(Float32Array.from(k.data), k.shape, { requiresGrad: true });
    const output = device.scope(() => {
      const result = flashAttention(upload(device, q, 'float32'), keys, keys.slice(3, 0, valueDim)).output;
      walkBack([[result, upload(device, dOutput, 'float32')]]);
      return result;
    });
    expectClose(await output.data(), attention(q, k, v, {}).output.data, tolerances.float32.attention, 'output');
    expectClose(await keys.grad!.data(), both, { atol: 1e-4, rtol: 1e-4 }, 'gradient of the keys');
    output.dispose();
    keys.dispose();
  });

  test('both caches', async () => {
    const { q, k, v } = operands(3, 45);
    using ring = new KeyValueCache(device, { batch: 1, numKvHeads: 1, headDim: dim, valueDim, capacity: 64 });
    using pages = new PagedKeyValueCache(device, { numPages: 3, pageSize: 16, numKvHeads: 1, headDim: dim, valueDim });
    const outputs = device.scope(() => {
      const [query, key, value] = [q, k, v].map((x) => upload(device, x, 'float32'));
      ring.append(key, value);
      const id = pages.add();
      pages.append([id], key, value);
      return [ring.attend(query).output, pages.attend([id], query).output];
    });
    const expected = attention(q, k, v, { isCausal: 'bottom-right' }).output.data;
    for (const output of outputs) {
      expectClose(await output.data(), expected, tolerances.float32.attention, 'output');
      output.dispose();
    }
  });
});

describe('llama.cpp’s grid', () => {
  const DIMS = [
    [40, 40],
    [64, 64],
    [72, 72],
    [80, 80],
    [96, 96],
    [128, 128],
    [192, 128],
    [192, 192],
    [256, 256],
    [320, 256],
    [512, 512],
    [576, 512],
  ] as const;
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random.uniform() * items.length)];

  const draws = Array.from({ length: 36 }, (_, i) => {
    const [dim, valueDim] = DIMS[i % DIMS.length];
    const [kvHeads, group] = [pick([1, 2, 4]), pick([1, 4, 12])];
    const [keys, queries] = [pick([113, 512, 1024]), pick([1, 3, 32, 75])];
    const [hasMask, hasAlibi, softcap, hasSinks, isPermuted] = [0.5, 0.3, 0.3, 0.3, 0.3].map(
      (share) => random.uniform() < share,
    );
    return { dim, valueDim, kvHeads, group, keys, queries, hasMask, hasAlibi, softcap, hasSinks, isPermuted };
  });

  test.each(draws)(
    '$dim and $valueDim dims, $kvHeads × $group heads, $queries queries, $keys keys, mask $hasMask, ALiBi $hasAlibi, softcap $softcap, sinks $hasSinks, permuted $isPermuted',
    async ({ dim, valueDim, kvHeads, group, keys, queries, ...has }) => {
      const heads = kvHeads * group;
      const operands = randomOperands(random, { batch: 1, heads, kvHeads, queries, keys, dim, valueDim });
      const split = { axes: [0, 2, 1, 3] };
      const problem: Problem = {
        ...operands,
        ...(has.hasMask && { mask: floatMask(random, [queries, keys]) }),
        ...(has.softcap && { softcap: 10 }),
        ...(has.hasAlibi && {
          alibiSlopes: {
            shape: [heads],
            data: Float32Array.from({ length: heads }, (_, h) => 2 ** (-(8 * (h + 1)) / heads)),
          },
        }),
        ...(has.hasSinks && { sinks: normals(heads) }),
        ...(has.isPermuted && { layouts: { q: split, k: split, v: split } }),
      };
      await expectAttention('flashAttention', problem, 'float32');
    },
  );
});
