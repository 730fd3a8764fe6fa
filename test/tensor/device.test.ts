import { openAdapter } from '#platform';
import { beforeAll, describe, expect, test } from 'vitest';
import { ArgumentError, contiguous, createDevice, type Device, type DType } from '../../src/index.ts';
import { HAS_DEFAULT_LIMITS, testDevice } from '../device.ts';
import { affine } from '../gpu/affine.ts';
import { openGpuDevice } from '../gpu/gpu-device.ts';

const STORAGE = 0x80;
const COPY_SRC = 0x4;
const COPY_DST = 0x8;
const UNIFORM = 0x40;

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

describe('info', () => {
  test('describes the adapter', () => {
    const { info } = device;
    expect(info.driver).not.toBe('');
    expect(info.reason).not.toBe('');
    expect(info.features).toEqual([...info.features].sort());
    expect(info.limits['maxComputeWorkgroupStorageSize']).toBeGreaterThanOrEqual(16_384);
    expect(info.limits['maxStorageBufferBindingSize']).toBe(device.gpu.limits.maxStorageBufferBindingSize);
    expect(info.subgroupMaxSize).toBeGreaterThanOrEqual(info.subgroupMinSize);
    JSON.stringify(info);
  });

  test('the limits are those of the adapter, not the defaults', async () => {
    const gpuDevice = await openGpuDevice();
    expect(device.gpu.limits.maxBufferSize).toBeGreaterThanOrEqual(gpuDevice.limits.maxBufferSize);
    gpuDevice.destroy();
  });

  test('kernels may bind as many storage buffers as the adapter has, and eight on a device of default limits', async ({
    skip,
  }) => {
    skip(HAS_DEFAULT_LIMITS, 'all devices of this cell of the matrix have default limits');
    const { adapter } = await openAdapter();
    const { maxStorageBuffersPerShaderStage } = adapter.limits;
    expect(device.traits).toMatchObject({ maxStorageBuffersPerShaderStage });
    expect(device.info.limits).toMatchObject({ maxStorageBuffersPerShaderStage });
    const gpuDevice = await openGpuDevice();
    const small = await createDevice({ gpuDevice });
    expect(small.traits.maxStorageBuffersPerShaderStage).toBe(8);
    expect(small.info.limits['maxStorageBuffersPerShaderStage']).toBe(8);
    small.dispose();
    gpuDevice.destroy();
  });

  test('a device that is passed in keeps its own limits and features', async () => {
    const gpuDevice = await openGpuDevice({ requiredLimits: { maxComputeWorkgroupStorageSize: 16_384 } });
    const given = await createDevice({ gpuDevice });
    expect(given.gpu).toBe(gpuDevice);
    expect(given.info).toMatchObject({ driver: 'given', isSoftware: device.info.isSoftware });
    expect(given.info.limits['maxComputeWorkgroupStorageSize']).toBe(16_384);
    expect([...(await affine(given.tensor([1, 2], [2]), { addend: 1 }).data())]).toEqual([2, 3]);
    given.dispose();
    gpuDevice.destroy();
  });
});

describe('zeros', () => {
  test.each<DType>(['float32', 'float16', 'bool', 'int32', 'uint32'])('of %s', async (dtype) => {
    const zeros = device.zeros([3, 5], { dtype });
    expect(zeros.dtype).toBe(dtype);
    expect(new Set(await zeros.data())).toEqual(new Set([0]));
    zeros.dispose();
  });

  test('are zero where a freed tensor left numbers', async () => {
    const old = device.tensor(new Float32Array(13_000).fill(7), [13_000]);
    await old.data();
    old.dispose();
    const zeros = device.zeros([13_000]);
    expect(new Set(await zeros.data())).toEqual(new Set([0]));
    zeros.dispose();
  });
});

describe('randn', () => {
  test('the seed decides, and nothing else', async () => {
    const values = async (seed: number | undefined, dtype: DType = 'float32') => [
      ...(await device.randn([50], { seed, dtype }).data()),
    ];
    const other = await createDevice();
    const elsewhere = [...(await other.randn([5, 10], { seed: 7 }).data())];
    other.dispose();
    expect(await values(7)).toEqual(elsewhere);
    expect(await values(undefined)).not.toEqual(await values(undefined)); // each call takes the next seed
    expect(await values(8)).not.toEqual(await values(7));
    expect(await values(-1)).not.toEqual(await values(1));
    const rounded = (await values(7)).map((value) => Math.abs(value) * 2 ** -11);
    for (const [i, value] of (await values(7, 'float16')).entries()) {
      expect(Math.abs(value - elsewhere[i])).toBeLessThanOrEqual(rounded[i]);
    }
  });

  test('without a seed takes the one of the device, which can be read and assigned', async () => {
    const values = async (seed?: number) => [...(await device.randn([20], { seed }).data())];
    device.seed = 41;
    expect(await values()).toEqual(await values(41));
    expect(device.seed).toBe(42); // the given seed moved nothing
    expect(await values()).toEqual(await values(42));
    device.seed = Number.MAX_SAFE_INTEGER;
    expect(device.nextSeed()).toBe(Number.MAX_SAFE_INTEGER);
    expect(device.seed).toBe(0);
    for (const [wrong, shown] of [
      [-1, '-1'],
      [1.5, '1.5'],
      [2 ** 53, '9007199254740992'],
      [NaN, 'NaN'],
      ['7', 'String'],
    ]) {
      const message = `device.seed: seed must be a whole number from 0 to 2^53 - 1, got ${shown}`;
      expect(() => (device.seed = wrong as number)).toThrow(new ArgumentError(message));
    }
    expect(device.seed).toBe(0);
  });

  test('is standard normal', async () => {
    const values = await device.randn([200, 500], { seed: 3 }).data();
    const moment = (power: number) => values.reduce((sum, value) => sum + value ** power, 0) / values.length;
    // four standard errors of each moment over 100,000 samples
    expect(Math.abs(moment(1))).toBeLessThan(0.0127);
    expect(Math.abs(moment(2) - 1)).toBeLessThan(0.018);
    expect(Math.abs(moment(3))).toBeLessThan(0.05);
    expect(Math.abs(moment(4) - 3)).toBeLessThan(0.125);
    const within = values.filter((value) => Math.abs(value) < 1).length / values.length;
    expect(within).toBeCloseTo(0.6827, 2);
    expect(values.every(Number.isFinite)).toBe(true);
    const lag = values.reduce((sum, value, i) => sum + value * values[(i + 1) % values.length], 0) / values.length;
    expect(Math.abs(lag)).toBeLessThan(0.0127);
  });
});

describe('wrap', () => {
  const buffer = (size: number, usage = STORAGE | COPY_SRC | COPY_DST) => device.gpu.createBuffer({ size, usage });

  test('reads what its owner wrote, and never frees it', async () => {
    const mine = buffer(64);
    device.gpu.queue.writeBuffer(
      mine,
      0,
      Float32Array.from({ length: 12 }, (_, i) => i),
    );
    const { live } = device.memory();
    const x = device.wrap(mine, [3, 4]);
    expect(device.memory().live).toBe(live);
    expect([...(await x.transpose().data())]).toEqual([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
    expect([...(await affine(x, { addend: 0.5 }).data())].slice(0, 3)).toEqual([0.5, 1.5, 2.5]);
    x.dispose();
    const again = device.wrap(mine, [12]);
    expect([...(await again.data())]).toEqual(Array.from({ length: 12 }, (_, i) => i));
    again.dispose();
    mine.destroy();
  });

  test('is never recycled for another tensor', () => {
    const mine = buffer(256);
    device.wrap(mine, [64]).dispose();
    const others = Array.from({ length: 20 }, () => device.zeros([64]));
    expect(others.some((tensor) => tensor.buffer === mine)).toBe(false);
    for (const tensor of others) tensor.dispose();
    mine.destroy();
  });

  test.each<[DType, number[], ArrayBufferView<ArrayBuffer>, number[]]>([
    ['float16', [2, 3], Uint16Array.of(0x3c00, 0x4000, 0x4200, 0, 0x4400, 0x4500, 0x4600, 0), [1, 2, 3, 4, 5, 6]],
    ['bool', [5], Uint8Array.of(1, 0, 1, 1, 0, 0, 0, 0), [1, 0, 1, 1, 0]],
    ['int32', [2], Int32Array.of(-5, 7), [-5, 7]],
    ['uint32', [2], Uint32Array.of(5, 2 ** 32 - 1), [5, 2 ** 32 - 1]],
  ])('of %s', async (dtype, shape, bytes, expected) => {
    const mine = buffer(16);
    device.gpu.queue.writeBuffer(mine, 0, bytes);
    const x = device.wrap(mine, shape, { dtype });
    expect([...(await x.data())]).toEqual(expected);
    expect([...(await contiguous(x.slice(-1, 1)).data())]).toEqual(expected.filter((_, i) => i % shape.at(-1)! !== 0));
    x.dispose();
    mine.destroy();
  });

  test('a write by the owner after flush() does not reach what was recorded before', async () => {
    const mine = buffer(16);
    device.gpu.queue.writeBuffer(mine, 0, Float32Array.of(1, 1, 1, 1));
    const x = device.wrap(mine, [4]);
    const y = affine(x, { addend: 1 });
    device.flush();
    device.gpu.queue.writeBuffer(mine, 0, Float32Array.of(8, 8, 8, 8));
    expect([...(await y.data())]).toEqual([2, 2, 2, 2]);
    expect([...(await affine(x, { addend: 1 }).data())]).toEqual([9, 9, 9, 9]);
    mine.destroy();
  });

  test('binds only what the tensor needs of a larger buffer', async () => {
    const gpuDevice = await openGpuDevice({ requiredLimits: { maxStorageBufferBindingSize: 2 ** 27 } });
    const given = await createDevice({ gpuDevice });
    const size = 2 ** 27 + 256;
    const large = gpuDevice.createBuffer({ size, usage: STORAGE | COPY_SRC });
    expect([...(await affine(given.wrap(large, [4]), { addend: 3 }).data())]).toEqual([3, 3, 3, 3]);
    large.destroy();
    given.dispose();
    gpuDevice.destroy();
  });

  test.each<[string, number, number, DType, string]>([
    ['too small', 32, STORAGE | COPY_SRC, 'float32', 'buffer must have at least 48 bytes for float32 [2, 5], got 32'],
    ['too small for padded rows', 16, STORAGE | COPY_SRC, 'float16', 'at least 32 bytes for float16 [2, 5], got 16'],
    ['not for storage', 64, UNIFORM | COPY_SRC, 'float32', 'buffer must have STORAGE and COPY_SRC usage, got 68'],
    ['not to be copied from', 64, STORAGE, 'float32', 'buffer must have STORAGE and COPY_SRC usage, got 128'],
  ])('refuses a buffer that is %s', (_, size, usage, dtype, message) => {
    const mine = buffer(size, usage);
    const call = () => device.wrap(mine, [2, 5], { dtype });
    expect(call).toThrow(ArgumentError);
    expect(call).toThrow(message);
    expect(call).toThrow(/^device\.wrap: /);
    mine.destroy();
  });
});

describe('tensor.buffer', () => {
  test("submits what was recorded, so that the caller's own work sees it", async () => {
    const x = affine(device.tensor([1, 2, 3, 4], [4]), { addend: 10 });
    const source = x.buffer;
    const target = device.gpu.createBuffer({ size: 16, usage: COPY_DST | 0x1 });
    const encoder = device.gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(source, 4 * x.offset, target, 0, 16);
    device.gpu.queue.submit([encoder.finish()]);
    await target.mapAsync(1);
    expect([...new Float32Array(target.getMappedRange())]).toEqual([11, 12, 13, 14]);
    target.destroy();
    x.dispose();
  });

  test('is the same buffer for all views, which tell their offset', () => {
    const x = device.zeros([4, 5]);
    const view = x.slice(0, 2).slice(1, 3);
    expect(view.buffer).toBe(x.buffer);
    expect(view.offset).toBe(13);
  });
});

describe('a tensor larger than the device allows', () => {
  test('is refused at once, by every way to make one, with the limit named', () => {
    const { maxStorageBufferBindingSize, maxBufferSize } = device.gpu.limits;
    const limit = Math.min(maxStorageBufferBindingSize, maxBufferSize);
    const length = limit / 4 + 1;
    const message = new RegExp(
      `must fit the device's limit of ${limit} bytes a buffer \\(maxStorageBufferBindingSize\\), got \\S+ bytes$`,
    );
    const mine = device.gpu.createBuffer({ size: 64, usage: STORAGE | COPY_SRC });
    for (const [call, make] of Object.entries({
      'device.zeros': () => device.zeros([length]),
      'device.randn': () => device.randn([2 ** 20, 2 ** 20]),
      'device.tensor': () => device.tensor([1], [length]),
      'device.wrap': () => device.wrap(mine, [length]),
    })) {
      expect(make).toThrow(ArgumentError);
      expect(make).toThrow(message);
      expect(make).toThrow(`${call}: a float32 tensor of shape [`);
    }
    expect(() => device.zeros([2 ** 40, 2 ** 40])).toThrow(message);
    expect(() => device.zeros([limit + 1], { dtype: 'bool' })).toThrow(message);
    mine.destroy();
  });
});
