/** What a device has no room for is refused before a number is drawn for it. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  ArgumentError,
  createBlockMask,
  createDevice,
  CrossAttention,
  causalMask,
  Embedding,
  KeyValueCache,
  LayerNorm,
  Linear,
  LocalAttention,
  MultiHeadAttention,
  OutOfMemoryError,
  PagedKeyValueCache,
  RMSNorm,
  RotaryEmbedding,
  SelfAttention,
  type Device,
} from '../../src/index.ts';
import { readLlama2c, Llama } from '../../src/models.ts';
import { openGpuDevice } from '../gpu/gpu-device.ts';
import { llama2cFile, TINY, tinyWeights } from '../models/tiny-llama.ts';

let gpuDevice: GPUDevice;
let device: Device;
let limit: number;
beforeAll(async () => {
  gpuDevice = await openGpuDevice(); // WebGPU's default limits
  limit = gpuDevice.limits.maxStorageBufferBindingSize;
  device = await createDevice({ gpuDevice, memoryBudget: 2 ** 28 });
});
afterAll(() => {
  device.dispose();
  gpuDevice.destroy();
});
afterEach(() => vi.restoreAllMocks());

/** The error of a call that must make no array of numbers and no tensor. */
function refusal(call: () => unknown): Error {
  const { live } = device.memory();
  const drawn = vi.spyOn(Float32Array, 'from');
  const listed = vi.spyOn(Array, 'from');
  let failure: unknown;
  try {
    call();
  } catch (error) {
    failure = error;
  }
  expect(drawn).not.toHaveBeenCalled();
  for (const [items] of listed.mock.calls) expect((items as ArrayLike<unknown>).length ?? 0).toBeLessThan(1000);
  expect(device.memory().live).toBe(live);
  return failure as Error;
}

const MANY = 1e9;

describe('more than one buffer may hold', () => {
  const attention = { embedDim: 4096, numHeads: 32 };
  const rows = { numKvHeads: 1, headDim: 1 };
  test.each<[name: string, shape: string, call: () => unknown]>([
    ['Linear', '[10000, 4096]', () => new Linear(device, { inFeatures: 4096, outFeatures: 10_000 })],
    // the weight fits, the bias does not
    ['Linear', '[1000000000, 1]', () => new Linear(device, { inFeatures: 1, outFeatures: MANY })],
    ['Embedding', '[1000000000, 64]', () => new Embedding(device, { numEmbeddings: MANY, embeddingDim: 64 })],
    ['SelfAttention', '[3000000000, 1000000000]', () => new SelfAttention(device, { embedDim: MANY, numHeads: 8 })],
    // the query's weight fits, the value's does not
    ['MultiHeadAttention', '[4096, 1000000000]', () => new MultiHeadAttention(device, { ...attention, vDim: MANY })],
    ['CrossAttention', '[4096, 1000000000]', () => new CrossAttention(device, { ...attention, kvDim: MANY })],
    [
      'LocalAttention',
      '[300000, 100000]',
      () => new LocalAttention(device, { embedDim: 1e5, numHeads: 1, windowSize: 8 }),
    ],
    ['LayerNorm', '[1000000000]', () => new LayerNorm(device, { normalizedShape: MANY })],
    ['RMSNorm', '[1000000000]', () => new RMSNorm(device, { normalizedShape: MANY })],
    ['RotaryEmbedding', '[1000000000, 32]', () => new RotaryEmbedding(device, { dim: 64, maxLength: MANY })],
    ['RotaryEmbedding', '[1, 500000000]', () => new RotaryEmbedding(device, { dim: MANY, maxLength: 1 })],
    ['KeyValueCache', '[1, 1, 1000000000, 1]', () => new KeyValueCache(device, { ...rows, batch: 1, capacity: MANY })],
    ['KeyValueCache', '[1000000000, 1, 1, 1]', () => new KeyValueCache(device, { ...rows, batch: MANY, capacity: 1 })],
    [
      'PagedKeyValueCache',
      '[1000000000, 1, 1, 1]',
      () => new PagedKeyValueCache(device, { ...rows, numPages: MANY, pageSize: 1 }),
    ],
    ['device.randn', '[1000000000]', () => device.randn([MANY])],
    ['device.zeros', '[1000000000]', () => device.zeros([MANY])],
    [
      'createBlockMask',
      '[1, 1, 31250000, 31250000]',
      () => createBlockMask(device, causalMask(), { queryLength: MANY, keyLength: MANY, blockSize: 32 }),
    ],
  ])('%s %s', (name, shape, call) => {
    const error = refusal(call);
    expect(error).toBeInstanceOf(ArgumentError);
    const start = `${name}: a ${name === 'createBlockMask' ? 'uint32' : 'float32'} tensor of shape ${shape} must fit `;
    expect(error.message.slice(0, start.length)).toBe(start);
    expect(error.message).toContain(
      `the device's limit of ${limit} bytes a buffer (maxStorageBufferBindingSize), got `,
    );
  });
});

describe('more than the memory budget', () => {
  test.each<[name: string, call: () => unknown]>([
    [
      'all weights of a module',
      () => new MultiHeadAttention(device, { embedDim: 3072, numHeads: 8, kDim: 8192, vDim: 8192 }),
    ],
  ])('%s', (_name, call) => {
    const error = refusal(call);
    expect(error).toBeInstanceOf(OutOfMemoryError);
    expect(error.message).toMatch(
      /^memory: \d+ more bytes would exceed the budget of 268435456 bytes, \d+ bytes are live; free tensors by /,
    );
  });

  test('device.randn, and both tables of a rotary embedding', async () => {
    const small = await createDevice({ gpuDevice, memoryBudget: 2 ** 20 });
    expect(refusal(() => small.randn([2 ** 20]))).toBeInstanceOf(OutOfMemoryError);
    expect(refusal(() => new RotaryEmbedding(small, { dim: 64, maxLength: 5000 }))).toBeInstanceOf(OutOfMemoryError);
    small.dispose();
  });

  test('all weights of a model', async () => {
    const small = await createDevice({ gpuDevice, memoryBudget: 2 ** 13 });
    const sizes = { ...TINY, dim: TINY.heads * TINY.headDim };
    const checkpoint = readLlama2c(llama2cFile(sizes, tinyWeights(sizes, 1)));
    const upload = vi.spyOn(small, 'tensor');
    expect(() => new Llama(small, checkpoint)).toThrow(OutOfMemoryError);
    expect(upload).not.toHaveBeenCalled();
    small.dispose();
  });
});

test('there may be more pages, and more sequences in a call, than a function takes arguments', async () => {
  using cache = new PagedKeyValueCache(device, { numKvHeads: 1, headDim: 1, numPages: 200_000, pageSize: 1 });
  expect(cache.freePages).toBe(200_000);
  const ids = Array.from({ length: 130_000 }, () => cache.add());
  const values = Float32Array.from(ids, (id) => id % 7);
  using x = device.tensor(values, [ids.length, 1, 1, 1]);
  cache.append(ids, x, x);
  expect((await cache.keys.data()).slice(0, ids.length)).toEqual(values);
});
