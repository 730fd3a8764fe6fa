/** Waits end at a signal, and leave the device as it was. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createDevice, flashAttention, ValidationError, type Device, type WaitOptions } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { AFFINE } from './affine.ts';

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const aborted = (reason: Error) => AbortSignal.abort(reason);

describe('a signal', () => {
  test('that is aborted already ends data() and sync() at once', async () => {
    const reason = new Error('not any more');
    using x = device.tensor([1, 2], [2]);
    await expect(x.data({ signal: aborted(reason) })).rejects.toBe(reason);
    await expect(device.sync({ signal: aborted(reason) })).rejects.toBe(reason);
    expect(await x.data()).toEqual(Float32Array.of(1, 2));
  });

  test('that is aborted meanwhile ends the wait, and later ones get the result', async () => {
    const controller = new AbortController();
    using x = device.tensor([3], [1]);
    const waits = [x.data({ signal: controller.signal }), device.sync({ signal: controller.signal })];
    controller.abort();
    for (const wait of waits) await expect(wait).rejects.toMatchObject({ name: 'AbortError' });
    expect(await x.data()).toEqual(Float32Array.of(3));
  });

  test('that is never aborted changes nothing, and keeps no listener', async () => {
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...given: Parameters<typeof add>) => (listeners++, add(...given));
    signal.removeEventListener = (...given: Parameters<typeof remove>) => (listeners--, remove(...given));
    using x = device.tensor([4], [1]);
    expect(await x.data({ signal })).toEqual(Float32Array.of(4));
    expect(listeners).toBe(0);
  });

  test('an option that the wait does not know is refused', async () => {
    using x = device.tensor([1], [1]);
    await expect(x.data({ timeout: 1 } as object)).rejects.toThrow("data: unknown option 'timeout'");
    await expect(device.sync({ timeout: 1 } as object)).rejects.toThrow("device.sync: unknown option 'timeout'");
  });

  test.each<[object, string]>([
    [
      { signal: new AbortController() },
      "signal must be an AbortSignal, such as an AbortController's signal, got Abort",
    ],
    [{ signal: null }, "signal must be an AbortSignal, such as an AbortController's signal, got null"],
    [{ signal: 5 }, "signal must be an AbortSignal, such as an AbortController's signal, got Number"],
    [{ onProgress: 'line' }, 'onProgress must be a function, got String'],
  ])('or a watcher that is none is refused: %o', async (options, message) => {
    using x = device.tensor([1], [1]);
    await expect(x.data(options)).rejects.toThrow(`data: ${message}`);
    await expect(device.sync(options)).rejects.toThrow(`device.sync: ${message}`);
    await expect(device.tune(options)).rejects.toThrow(`device.tune: ${message}`);
  });
});

describe('a failure that the GPU finds', () => {
  let own: Device;
  beforeAll(async () => {
    own = await createDevice();
  });
  afterAll(() => own.dispose());

  /** Records what WebGPU refuses, and returns what it writes to. */
  function fail() {
    const { info, runtime } = own;
    const [x, output] = [own.zeros([4]), own.zeros([4])];
    const workgroups = [info.limits['maxComputeWorkgroupsPerDimension'] + 1, 1, 1] as const;
    const launch = { shader: AFFINE, constants: {}, params: { count: 4, addend: 0 }, workgroups };
    runtime.dispatch(launch, { x: x.storage('test'), output: output.storage('test') });
    x.dispose();
    return output;
  }
  /** The GPU has done everything, and whoever waited for that has gone as far as it can. */
  const settled = async () => {
    await own.gpu.queue.onSubmittedWorkDone();
    for (let i = 0; i < 3; i++) await new Promise(setImmediate);
  };

  test('while a wait that ended early asked for it rejects the next wait', async () => {
    let open: (() => void) | undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const pop = own.gpu.popErrorScope.bind(own.gpu);
    const spy = vi.spyOn(own.gpu, 'popErrorScope').mockImplementation(async () => {
      const popped = pop();
      await gate;
      return popped;
    });
    using _ = fail();
    const controller = new AbortController();
    const wait = own.sync({ signal: controller.signal });
    await settled();
    controller.abort();
    spy.mockRestore();
    await expect(wait).rejects.toMatchObject({ name: 'AbortError' });
    open!();
    await settled();
    await expect(own.sync()).rejects.toThrow(ValidationError);
    await own.sync();
  });

  test('with a result that could not be read after its wait had ended rejects the next wait', async () => {
    using output = fail();
    const controller = new AbortController();
    let refuse: (() => void) | undefined;
    const create = own.gpu.createBuffer.bind(own.gpu);
    const spy = vi.spyOn(own.gpu, 'createBuffer').mockImplementation((descriptor) =>
      Object.assign(create(descriptor), {
        mapAsync: () =>
          new Promise((_, reject) => {
            refuse = () => reject(new Error('mine'));
          }),
      }),
    );
    const wait = output.data({ signal: controller.signal });
    spy.mockRestore();
    controller.abort();
    await expect(wait).rejects.toMatchObject({ name: 'AbortError' });
    refuse!();
    await settled();
    await expect(own.sync()).rejects.toThrow(ValidationError);
    await own.sync();
  });
});

describe('progress', () => {
  let divided: Device;
  beforeAll(async () => {
    divided = await createDevice({ maxDispatchTime: 1e-4 });
  });
  afterAll(() => divided.dispose());

  /** Submits work that is long for this device. */
  function work() {
    divided.scope(() => {
      const [q, k, v] = [0, 1, 2].map((seed) => divided.randn([1, 2, 70, 16], { seed }));
      const { submits } = divided.runtime.counters();
      flashAttention(q, k, v);
      divided.flush();
      expect(divided.runtime.counters().submits - submits).toBeGreaterThan(1);
    });
  }
  type Progress = Parameters<NonNullable<WaitOptions['onProgress']>>[0];

  test('counts the operations of long work that have ended, up to all of it', async () => {
    work();
    const seen: Progress[] = [];
    await divided.sync({ onProgress: (progress) => seen.push(progress) });
    expect(seen.length).toBeGreaterThan(0);
    const done = seen.map((progress) => progress.done);
    expect(done).toEqual([...done].sort((a, b) => a - b));
    expect(seen.every(({ done: part, total }) => part > 0 && part <= total)).toBe(true);
    expect(seen.at(-1)?.done).toBe(seen.at(-1)?.total);
  });

  test('is told to a function for each wait that it watches, though one of them ends', async () => {
    work();
    const seen: Progress[] = [];
    const onProgress = (progress: Progress) => void seen.push(progress);
    const controller = new AbortController();
    const waits = [divided.sync({ onProgress, signal: controller.signal }), divided.sync({ onProgress })];
    controller.abort();
    await expect(waits[0]).rejects.toMatchObject({ name: 'AbortError' });
    await waits[1];
    expect(seen.length).toBeGreaterThan(0);
  });

  test('ends its wait with what the watcher throws, and no other wait', async () => {
    work();
    const seen: Progress[] = [];
    const failing = divided.sync({
      onProgress: () => {
        throw new RangeError('mine');
      },
    });
    const other = divided.sync({ onProgress: (progress) => seen.push(progress) });
    await expect(failing).rejects.toThrow(new RangeError('mine'));
    await other;
    expect(seen.length).toBeGreaterThan(0);
  });
});
