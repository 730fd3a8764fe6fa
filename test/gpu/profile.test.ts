import { describe, expect, test, vi } from 'vitest';
import {
  ArgumentError,
  createDevice,
  flashAttention,
  matmul,
  softmax,
  type Profile,
  type ProfileRoof,
} from '../../src/index.ts';
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
    const row = (await value.data()).subarray(0, 64);
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

  test('sums the calls of a kernel by an op, with the bytes of its tensors', async () => {
    const device = await testDevice();
    const x = device.randn([64, 48]);
    const { kernels, gpuTime } = await device.profile(() => {
      for (let i = 0; i < 3; i++) softmax(x).dispose();
      affine(x, { addend: 1 }).dispose();
    });
    const bySize = kernels.toSorted((a, b) => b.calls - a.calls);
    expect(bySize.map(({ op, calls }) => [op, calls])).toEqual([
      ['softmax', 3],
      ['affine', 1],
    ]);
    const [soft] = bySize;
    expect(soft.kernel).toMatch(/softmax/);
    expect(soft.bytesWritten).toBe(3 * 64 * 48 * 4);
    expect(soft.bytesRead).toBe(3 * 64 * 48 * 4);
    expect(soft.operations).toBeUndefined();
    expect(soft.roofShare).toBeUndefined();
    if (gpuTime === undefined) expect(kernels.map((row) => row.gpuTime)).toEqual([undefined, undefined]);
    else expect(kernels[0].gpuTime! + kernels[1].gpuTime!).toBeCloseTo(gpuTime, 9);
  });

  test('counts the operations of products and attention, and gives variants of a shader rows of their own', async () => {
    const device = await testDevice();
    const [b, h, n, d] = [1, 2, 16, 32];
    const q = device.randn([b, h, n, d]);
    const { kernels } = await device.profile(() =>
      device.scope(() => {
        matmul(q.slice(1, 0, 1).reshape([n, d]), q.slice(1, 1, 2).reshape([n, d]).transpose(0, 1));
        flashAttention(q, q, q);
        flashAttention(q, q, q, { isCausal: true });
        affine(q, { factor: 2 });
        affine(q, { factor: 3 });
      }),
    );
    const of = (op: string) => kernels.filter((row) => row.op === op);
    expect(of('matmul').map(({ operations }) => operations)).toEqual([2 * n * n * d]);
    const pairs = of('flashAttention').reduce((sum, { operations }) => sum + (operations ?? 0), 0) / (4 * b * h * d);
    expect(pairs).toBe(n * n + (n * (n + 1)) / 2);
    expect(of('affine').map(({ constants }) => constants['FACTOR'])).toHaveLength(2);
    expect(new Set(of('affine').map(({ constants }) => constants['FACTOR']))).toEqual(new Set([2, 3]));
  });

  test('a trace has lanes of host and GPU, and shows what was compiled on the host alone', async () => {
    const device = await testDevice();
    const x = device.zeros([4]);
    const factor = 1.625; // of no other test
    const work = () => affine(x, { factor }).dispose();
    const cold = await device.profile(work);
    const warm = await device.profile(work);
    interface Event {
      ph: string;
      cat?: string;
      name: string;
      tid?: number;
      args?: { name?: string };
    }
    const events = (profile: Profile<void>) => (JSON.parse(profile.trace()) as { traceEvents: Event[] }).traceEvents;
    const kinds = (profile: Profile<void>, tid: number) =>
      events(profile)
        .filter((event) => event.ph === 'X' && event.tid === tid)
        .map(({ cat, name }) => `${cat} ${name}`)
        .sort();
    const host = ['record affine', 'submit submit', 'wait wait', 'work work'];
    expect(kinds(cold, 1)).toEqual(['compile affine', ...host]);
    expect(kinds(warm, 1)).toEqual(host);
    expect(kinds(warm, 2)).toEqual(warm.gpuTime === undefined ? [] : ['kernel affine']);
    const lanes = events(warm).filter(({ name }) => name === 'thread_name');
    expect(lanes.map(({ args }) => args?.name)).toEqual(warm.gpuTime === undefined ? ['host'] : ['host', 'GPU']);
  });

  test('runs what never ran for no workgroup first, so that no driver compiles while it is timed', async () => {
    const device = await testDevice();
    const passes: (GPUComputePassDescriptor | undefined)[] = [];
    const createCommandEncoder = device.gpu.createCommandEncoder.bind(device.gpu);
    const mocked = vi.spyOn(device.gpu, 'createCommandEncoder').mockImplementation(() => {
      const encoder = createCommandEncoder();
      const beginComputePass = encoder.beginComputePass.bind(encoder);
      return Object.assign(encoder, {
        beginComputePass(descriptor?: GPUComputePassDescriptor) {
          passes.push(descriptor);
          return beginComputePass(descriptor);
        },
      });
    });
    const x = device.zeros([4]);
    const profiled = async (factor: number) => {
      passes.length = 0;
      const { value } = await device.profile(() => affine(x, { factor, addend: 3 }));
      expect([...(await value.data())]).toEqual([3, 3, 3, 3]);
      return passes.map((pass) => pass !== undefined);
    };
    expect(await profiled(1.375)).toEqual([false, true]); // of no other test
    expect(await profiled(1.375)).toEqual([true]);
    affine(x, { factor: 1.4375 });
    await device.sync();
    expect(await profiled(1.4375)).toEqual([true]);
    mocked.mockRestore();
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
    const profile = await device.profile(() => affine(device.zeros([4]), { addend: 1 }));
    const { value, gpuTime, dispatches, kernels } = profile;
    expect(gpuTime).toBeUndefined();
    expect(dispatches).toEqual([]);
    expect(kernels).toMatchObject([
      { op: 'affine', calls: 1, gpuTime: undefined, gbs: undefined, roofShare: undefined },
    ]);
    expect(profile.trace()).not.toContain('"GPU"');
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
    const nested = 'device.profile: work must not call device.profile itself';
    const outer = device.profile(() => void (inner = device.profile(() => affine(x, {}))));
    await expect(outer).rejects.toThrow(new ArgumentError(nested)); // nor is the inner rejection left to nobody
    await expect(inner).rejects.toThrow(new ArgumentError(nested));
    await device.profile(() => affine(x, {}));
    for (const roof of [{}, null, { copyGBs: 0, f32Gflops: 1 }] as unknown as ProfileRoof[]) {
      await expect(device.profile(() => affine(x, {}), { roof })).rejects.toThrow(
        'device.profile: roof.copyGBs must be',
      );
    }
    const failing = device.profile(() => {
      throw new RangeError('mine');
    });
    await expect(failing).rejects.toThrow(new RangeError('mine'));
    expect(counted(device.runtime, () => affine(x, {}))).toMatchObject({ submits: 0, dispatches: 1 });
    await device.sync();
  });
});
