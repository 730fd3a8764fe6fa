import { afterEach, describe, expect, test } from 'vitest';
import type { Shader } from '../../src/gpu/shader.ts';
import {
  ArgumentError,
  createDevice,
  DeviceLostError,
  OutOfMemoryError,
  ShaderError,
  softmax,
  ValidationError,
  type Device,
  type DeviceOptions,
} from '../../src/index.ts';
import { AFFINE, affine } from './affine.ts';
import { openGpuDevice } from './gpu-device.ts';

const devices: Device[] = [];
async function open(options: DeviceOptions = {}): Promise<Device> {
  const device = await createDevice(options);
  devices.push(device);
  return device;
}
afterEach(() => {
  for (const device of devices.splice(0)) device.dispose();
});

async function expectUsable(device: Device): Promise<void> {
  const x = device.tensor([1, 2, 3], [3]);
  const y = affine(x, { addend: 1 });
  expect([...(await y.data())]).toEqual([2, 3, 4]);
  x.dispose();
  y.dispose();
}

function dispatch(device: Device, shader: Shader, workgroups: [number, number, number] = [1, 1, 1]): void {
  const [x, output] = [device.zeros([4]), device.zeros([4])];
  const params = { count: 4, addend: 0 };
  device.runtime.dispatch(
    { shader, constants: {}, params, workgroups },
    { x: x.storage('test'), output: output.storage('test') },
  );
}

describe('a shader that does not compile', () => {
  const broken: Shader = { ...AFFINE, name: 'broken', text: AFFINE.text.replace('params.addend', 'missing(1.0)') };
  const line = broken.text.split('\n').findIndex((text) => text.includes('missing')) + 1;
  const column = broken.text.split('\n')[line - 1].indexOf('missing') + 1;

  test('rejects the next wait with line and column, once; then the device is usable', async () => {
    const device = await open();
    dispatch(device, broken);
    const failure = await device.sync().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ShaderError);
    expect((failure as Error).message).toMatch(/^broken: /);
    expect((failure as Error).message).toContain(`:${line}:${column} `);
    await device.sync();
    await expectUsable(device);
  });

  test('is reported by data() too, and each time that it is used', async () => {
    const device = await open();
    for (let i = 0; i < 2; i++) {
      const x = affine(device.zeros([4]), { addend: 1 });
      dispatch(device, broken);
      await expect(x.data()).rejects.toThrow(ShaderError);
    }
    await expectUsable(device);
  });
});

test('rejected work rejects the next wait; then the device is usable', async () => {
  const device = await open();
  dispatch(device, AFFINE, [device.info.limits['maxComputeWorkgroupsPerDimension'] + 1, 1, 1]);
  const failure = await device.sync().catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(ValidationError);
  expect((failure as Error).message).toMatch(/^device: recorded work was rejected: /);
  await expectUsable(device);
});

test('a wrapped buffer that its owner destroyed rejects the next wait; then the device is usable', async () => {
  const device = await open();
  const buffer = device.gpu.createBuffer({ size: 256, usage: 0x80 | 0x4 });
  const x = device.wrap(buffer, [8]);
  buffer.destroy();
  await expect(affine(x, {}).data()).rejects.toThrow(ValidationError);
  await expectUsable(device);
});

describe('memory', () => {
  test('over the budget is refused at once; freeing makes room again', async () => {
    const device = await open({ memoryBudget: 1_000_000 });
    const x = device.randn([100_000]);
    const { live } = device.memory();
    expect(() => device.zeros([200_000])).toThrow(OutOfMemoryError);
    expect(() => device.zeros([200_000])).toThrow(
      /^memory: \d+ more bytes would exceed the budget of 1000000 bytes, \d+ bytes are live; free tensors by dispose\(\) or inside device\.scope\(\), and compute what needs no gradient inside noGrad\(\)$/,
    );
    expect(() => device.tensor(new Float32Array(200_000), [200_000])).toThrow(OutOfMemoryError);
    const big = device.zeros([100_000]);
    expect(() => affine(big, {})).toThrow(OutOfMemoryError);
    big.dispose();
    expect(device.memory().live).toBe(live);
    x.dispose();
    expect((await device.zeros([200_000]).data()).length).toBe(200_000);
    await expectUsable(device);
  });

  test('an op that runs out half-way frees what it took', async () => {
    const device = await open({ memoryBudget: 100_000 });
    const x = device.randn([10, 1000]);
    const { live } = device.memory();
    expect(() => device.scope(() => [affine(x, {}), affine(x, {}), affine(x, {})])).toThrow(OutOfMemoryError);
    expect(device.memory().live).toBe(live);
    await expectUsable(device);
  });

  test('a buffer that the driver cannot make rejects the next wait, and is not recycled', async () => {
    const device = await open({ memoryBudget: Infinity });
    const bytes = 16 * Math.ceil(device.gpu.limits.maxBufferSize / 16) + 16;
    const buffer = device.runtime.acquire(bytes);
    await expect(device.sync()).rejects.toThrow(OutOfMemoryError);
    device.runtime.release(buffer);
    expect(device.runtime.acquire(bytes)).not.toBe(buffer);
    await expect(device.sync()).rejects.toThrow(
      /^memory: a buffer of \d+ bytes could not be made \(.*\), \d+ bytes are live; free tensors by dispose\(\) .*noGrad\(\)$/s,
    );
    await expectUsable(device);
  });

  test.each([0, -1, NaN, '1e6'])('a budget of %s is refused', async (memoryBudget) => {
    await expect(createDevice({ memoryBudget: memoryBudget as number })).rejects.toThrow(
      new ArgumentError(`createDevice: memoryBudget must be a positive number of bytes, got ${memoryBudget}`),
    );
  });
});

describe('dispose', () => {
  test('may be called twice; afterwards everything but dispose throws DeviceLostError', async () => {
    const device = await open();
    const x = device.randn([4, 4]);
    const buffer = device.gpu.createBuffer({ size: 256, usage: 0x80 | 0x4 });
    await x.data();
    device.dispose();
    device.dispose();
    const message = 'device: the device was disposed';
    for (const call of [
      () => device.tensor([1], [1]),
      () => device.zeros([1]),
      () => device.randn([1]),
      () => device.wrap(buffer, [1]),
      () => softmax(x),
      () => x.transpose(),
      () => x.reshape([16]),
      () => x.slice(0, 1),
      () => x.buffer,
    ]) {
      expect(call).toThrow(new DeviceLostError(message));
    }
    await expect(x.data()).rejects.toThrow(new DeviceLostError(message));
    await expect(device.sync()).rejects.toThrow(new DeviceLostError(message));
    await expect(device.profile(() => undefined)).rejects.toThrow(new DeviceLostError(message));
    device.flush();
    x.dispose();
    expect(device.memory()).toMatchObject({ live: 0, pooled: 0 });
  });

  test('rejects waits that are under way', async () => {
    const device = await open();
    const x = affine(device.randn([1000]), { addend: 1 });
    const waits = [x.data(), device.sync()];
    device.dispose();
    for (const wait of await Promise.allSettled(waits)) {
      expect(wait).toMatchObject({ status: 'rejected', reason: { name: 'DeviceLostError' } });
    }
  });

  test('destroys all its buffers, and leaves a device that was passed in to its owner', async () => {
    const gpuDevice = await openGpuDevice();
    const device = await open({ gpuDevice });
    expect(device.gpu).toBe(gpuDevice);
    const x = device.randn([8]);
    const theirs = gpuDevice.createBuffer({ size: 32, usage: 0x80 | 0x4 | 0x8 });
    const wrapped = device.wrap(theirs, [8]);
    const y = affine(x, { addend: 1 });
    await Promise.all([y.data(), wrapped.data()]);
    const { buffer } = y;
    device.dispose();

    const copy = async (source: GPUBuffer) => {
      const target = gpuDevice.createBuffer({ size: 32, usage: 0x8 });
      gpuDevice.pushErrorScope('validation');
      const encoder = gpuDevice.createCommandEncoder();
      encoder.copyBufferToBuffer(source, 0, target, 0, 32);
      gpuDevice.queue.submit([encoder.finish()]);
      return (await gpuDevice.popErrorScope())?.message;
    };
    expect(await copy(theirs)).toBeUndefined();
    expect(await copy(buffer)).toMatch(/destroyed/);

    const again = await open({ gpuDevice });
    await expectUsable(again);
    again.dispose();
    gpuDevice.destroy();
  });

  test('works by `using`', async () => {
    let escaped: Device;
    {
      using device = await createDevice();
      escaped = device;
      await expectUsable(device);
    }
    expect(() => escaped.zeros([1])).toThrow(DeviceLostError);
  });
});

describe('close', () => {
  test('lets nothing new begin, gives waits under way their results, and then frees everything', async () => {
    const device = await open();
    const x = affine(device.tensor([1, 2, 3, 4], [4]), { addend: 1 });
    const unsubmitted = affine(x, { addend: 1 });
    const waits = [x.data(), unsubmitted.data(), device.sync(), device.profile(() => affine(x, {}))] as const;
    const closed = device.close();
    const refusal = new DeviceLostError('device: the device was closed');
    for (const call of [() => device.zeros([1]), () => softmax(x), () => x.transpose(), () => x.buffer]) {
      expect(call).toThrow(refusal);
    }
    for (const wait of [() => x.data(), () => device.sync(), () => device.profile(() => undefined)]) {
      await expect(wait()).rejects.toThrow(refusal);
    }
    await closed;
    expect([...(await waits[0])]).toEqual([2, 3, 4, 5]);
    expect([...(await waits[1])]).toEqual([3, 4, 5, 6]);
    await Promise.all(waits);
    expect(device.memory()).toMatchObject({ live: 0, pooled: 0 });
    expect(() => device.zeros([1])).toThrow(refusal);
    await expect(device.sync()).rejects.toThrow(refusal);
    x.dispose();
  });

  test('gives waits under way their errors, and does not reject', async () => {
    const device = await open();
    dispatch(device, AFFINE, [device.info.limits['maxComputeWorkgroupsPerDimension'] + 1, 1, 1]);
    const failure = device.sync().catch((error: unknown) => error);
    await device.close();
    expect(await failure).toBeInstanceOf(ValidationError);
  });

  test('does not reject for failures that nobody waits for', async () => {
    const device = await open();
    dispatch(device, AFFINE, [device.info.limits['maxComputeWorkgroupsPerDimension'] + 1, 1, 1]);
    await device.close();
  });

  test('may be called twice, and before and after dispose', async () => {
    const device = await open();
    const x = device.randn([4]);
    const wait = x.data();
    const closed = device.close();
    expect(device.close()).toBe(closed);
    device.dispose();
    await expect(wait).rejects.toThrow(DeviceLostError);
    await closed;
    await device.close();
    device.dispose();
    const disposed = await open();
    disposed.dispose();
    await disposed.close();
    expect(() => disposed.zeros([1])).toThrow(new DeviceLostError('device: the device was disposed'));
  });

  test('leaves a device that was passed in to its owner', async () => {
    const gpuDevice = await openGpuDevice();
    const device = await open({ gpuDevice });
    await device.close();
    const again = await open({ gpuDevice });
    await expectUsable(again);
    await again.close();
    gpuDevice.destroy();
  });

  test('does not wait for ever for a device that is lost', async () => {
    const gpuDevice = await openGpuDevice();
    const device = await open({ gpuDevice });
    const waits = Promise.allSettled([affine(device.randn([100]), { addend: 1 }).data(), device.sync()]);
    gpuDevice.destroy();
    await device.close();
    for (const wait of await waits) {
      expect(wait).toMatchObject({ status: 'rejected', reason: { name: 'DeviceLostError' } });
    }
  });

  test('works by `await using`', async () => {
    let escaped: Device;
    {
      await using device = await createDevice();
      escaped = device;
      await expectUsable(device);
    }
    expect(() => escaped.zeros([1])).toThrow(new DeviceLostError('device: the device was closed'));
  });
});

describe('a device that its owner destroys', () => {
  test('rejects waits, those under way too, and then refuses ops', async () => {
    const gpuDevice = await openGpuDevice();
    const device = await open({ gpuDevice });
    const x = affine(device.randn([100]), { addend: 1 });
    const waits = [x.data(), device.sync(), device.profile(() => affine(x, {}))];
    gpuDevice.destroy();
    for (const wait of await Promise.allSettled(waits)) {
      expect(wait).toMatchObject({ status: 'rejected', reason: { name: 'DeviceLostError' } });
    }
    expect(() => affine(x, {})).toThrow(/^device: the GPU device was lost: /);
    await expect(x.data()).rejects.toThrow(DeviceLostError);
    await expect(device.sync()).rejects.toThrow(DeviceLostError);
    x.dispose();
    device.dispose();
  });

  test('between recording and waiting rejects the wait', async () => {
    const gpuDevice = await openGpuDevice();
    const device = await open({ gpuDevice });
    const x = affine(device.randn([100]), { addend: 1 });
    gpuDevice.destroy();
    await expect(device.sync()).rejects.toThrow(DeviceLostError);
    await expect(x.data()).rejects.toThrow(DeviceLostError);
  });
});
