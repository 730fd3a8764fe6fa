import { describe, expect, test, vi } from 'vitest';
import { ArgumentError, createDevice, softmax } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { affine, counted } from './affine.ts';
import { openGpuDevice } from './gpu-device.ts';

describe('profile', () => {
  test('times each dispatch under the name of its op', async (context) => {
    const device = await testDevice();
    if (!device.info.features.includes('timestamp-query')) context.skip('the device has no timestamp queries');
    const x = device.randn([64, 64]);
    const { value, gpuTime, dispatches } = await device.profile(() => affine(softmax(x), { addend: 1 }));
    expect(dispatches.map(({ label }) => label)).toEqual(['softmax', 'affine']);
    for (const dispatch of dispatches) expect(dispatch.gpuTime).toSatisfy(Number.isFinite);
    expect(gpuTime).toBe(dispatches[0].gpuTime + dispatches[1].gpuTime);
    const row = (await value.data()).subarray(0, 64) as Float32Array;
    expect(row.reduce((sum, weight) => sum + weight - 1, 0)).toBeCloseTo(1, 5);
  });

  test('times more dispatches than a batch holds, and not what was recorded before or while it waits', async (context) => {
    const device = await testDevice();
    if (!device.info.features.includes('timestamp-query')) context.skip('the device has no timestamp queries');
    const x = device.zeros([4]);
    affine(x, {});
    const profiling = device.profile(() => {
      for (let i = 0; i < 300; i++) affine(x, {}).dispose();
    });
    affine(x, {});
    device.flush();
    const { dispatches } = await profiling;
    expect(dispatches).toHaveLength(300);
  });

  test("tells milliseconds, from the nanoseconds of the GPU's clock", async (context) => {
    const device = await testDevice();
    if (!device.info.features.includes('timestamp-query')) context.skip('the device has no timestamp queries');
    const nanoseconds = BigUint64Array.of(7_000_000n, 9_500_000n, 9_500_000n, 9_750_000n);
    const x = device.zeros([4]);
    const createBuffer = device.gpu.createBuffer.bind(device.gpu);
    const mocked = vi
      .spyOn(device.gpu, 'createBuffer')
      .mockImplementation((descriptor) =>
        Object.assign(createBuffer(descriptor), { getMappedRange: () => nanoseconds.buffer }),
      );
    // what it leaves behind is destroyed with the stopwatch, not kept for other tests
    const { gpuTime, dispatches } = await device.profile(() => {
      for (let i = 0; i < 2; i++) affine(x, {}).dispose();
    });
    mocked.mockRestore();
    expect(dispatches.map((dispatch) => dispatch.gpuTime)).toEqual([2.5, 0.25]);
    expect(gpuTime).toBe(2.75);
  });

  test('of nothing is nothing', async () => {
    const device = await testDevice();
    const { value, gpuTime, dispatches } = await device.profile(() => 'done');
    expect(value).toBe('done');
    expect(dispatches).toEqual([]);
    if (device.info.features.includes('timestamp-query')) expect(gpuTime).toBe(0);
  });

  test('without timestamp queries has the value and no times', async () => {
    const gpuDevice = await openGpuDevice();
    const device = await createDevice({ gpuDevice });
    expect(device.info.features).not.toContain('timestamp-query');
    const { value, gpuTime, dispatches } = await device.profile(() => affine(device.zeros([4]), { addend: 1 }));
    expect(gpuTime).toBeUndefined();
    expect(dispatches).toEqual([]);
    expect([...(await value.data())]).toEqual([1, 1, 1, 1]);
    device.dispose();
    gpuDevice.destroy();
  });

  test('refuses work that is async or profiles itself, and passes on what it throws', async () => {
    const device = await testDevice();
    const x = device.zeros([4]);
    await expect(device.profile(async () => affine(x, {}))).rejects.toThrow(
      new ArgumentError(
        'device.profile: work must not be async, because what it does after its first await would escape, got a function that returned a promise',
      ),
    );
    let inner: Promise<unknown> | undefined;
    await device.profile(() => {
      inner = device.profile(() => affine(x, {}));
      inner.catch(() => undefined);
    });
    if (device.info.features.includes('timestamp-query')) {
      await expect(inner).rejects.toThrow('device.profile: work must not call device.profile itself');
    }
    const failing = device.profile(() => {
      throw new RangeError('mine');
    });
    await expect(failing).rejects.toThrow(new RangeError('mine'));
    expect(counted(device.runtime, () => affine(x, {}))).toMatchObject({ submits: 0, dispatches: 1 });
    await device.sync();
  });
});
