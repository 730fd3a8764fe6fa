/** Waits end at a signal, and leave the device as it was. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDevice, flashAttention, type Device } from '../../src/index.ts';
import { testDevice } from '../device.ts';

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
});

describe('progress', () => {
  let divided: Device;
  beforeAll(async () => {
    divided = await createDevice({ maxDispatchTime: 1e-4 });
  });
  afterAll(() => divided.dispose());

  test('counts the operations of long work that have ended, up to all of it', async () => {
    const [q, k, v] = [0, 1, 2].map((seed) => divided.randn([1, 2, 70, 16], { seed }));
    const { output } = flashAttention(q, k, v);
    const seen: { done: number; total: number }[] = [];
    await divided.sync({ onProgress: (progress) => seen.push(progress) });
    const done = seen.map((progress) => progress.done);
    expect(done).toEqual([...done].sort((a, b) => a - b));
    expect(seen.every(({ done: part, total }) => part > 0 && part <= total)).toBe(true);
    expect(seen.at(-1)?.done).toBe(seen.at(-1)?.total);
    output.dispose();
  });
});
