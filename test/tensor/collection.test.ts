import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDevice, linear, matmul, softmax, type Device, type TensorData } from '../../src/index.ts';
import * as module from '../../src/tensor/tensor.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

let device: Device;
beforeAll(async () => {
  device = await createDevice();
});
afterAll(() => device.dispose());

/** Runs `work` in a frame of its own, so that nothing of it stays on the stack. */
async function forget(work: () => unknown): Promise<void> {
  await Promise.resolve();
  work();
}

/** Collects until so many bytes are live. The test's own timeout ends it if that never happens. */
async function collectUntil(live: number): Promise<void> {
  while (device.memory().live !== live) {
    collect();
    await new Promise(setImmediate);
  }
}

test('a tensor that nobody disposed gives its memory back when it is collected', async () => {
  const { live } = device.memory();
  await forget(() => device.zeros([1000]).dispose());
  await forget(() => [device.zeros([1000]), device.randn([10, 10]).transpose(), device.tensor([1], [1]).detach()]);
  expect(device.memory().live).toBeGreaterThan(live);
  await collectUntil(live);
});

test('storage lives as long as one of its views can be reached', async () => {
  const { live } = device.memory();
  const view = ((x) => x.slice(0, 1, 3))(device.tensor([1, 2, 3, 4], [4]));
  const held = device.memory().live;
  await forget(() => view.reshape([2, 1]));
  for (let i = 0; i < 5; i++) {
    collect();
    await new Promise(setImmediate);
  }
  expect(device.memory().live).toBe(held);
  expect([...(await view.data())]).toEqual([2, 3]);
  view.dispose();
  expect(device.memory().live).toBe(live);
});

test('a disposed tensor gives its memory back once', async () => {
  const { live } = device.memory();
  const other = device.zeros([1000]);
  const held = device.memory().live;
  await forget(() => {
    const x = device.zeros([1000]);
    x.detach().dispose();
    x.dispose();
    x.dispose();
  });
  for (let i = 0; i < 5; i++) {
    collect();
    await new Promise(setImmediate);
  }
  expect(device.memory().live).toBe(held);
  other.dispose();
  expect(device.memory().live).toBe(live);
});

test('a graph that nobody can reach is collected with what it saved and gathered', async () => {
  const { live } = device.memory();
  const x = device.randn([4, 8]);
  await forget(() => {
    const weight = device.randn([8, 8], { requiresGrad: true });
    const hidden = softmax(linear(x, weight));
    matmul(hidden, hidden, { transposeB: true }).slice(0, 0, 1).slice(1, 0, 1).backward();
    matmul(hidden, weight); // a step that is never walked
  });
  x.dispose();
  await collectUntil(live);
});

test('results that are read while their tensors are collected are right', async () => {
  const waits: Promise<TensorData>[] = [];
  const { live } = device.memory();
  for (let i = 0; i < 20; i++) {
    await forget(() => waits.push(softmax(device.tensor(Array(64).fill(i), [64])).data()));
    collect();
    await new Promise(setImmediate);
  }
  for (const wait of waits) expect([...(await wait)].every((value) => value === 1 / 64)).toBe(true);
  await collectUntil(live);
});

test('a tensor whose buffer was taken is left alone', async () => {
  const { live } = device.memory();
  let buffer: GPUBuffer | undefined;
  await forget(() => (buffer = device.zeros([1000]).buffer));
  await forget(() => device.zeros([2000]));
  const held = device.memory().live;
  await collectUntil(held - 8192);
  expect(device.memory().live).toBeGreaterThan(live);
  expect(buffer!.size).toBeGreaterThanOrEqual(4000);
});

test('a runtime without FinalizationRegistry does without it', async () => {
  const { FinalizationRegistry } = globalThis;
  Object.assign(globalThis, { FinalizationRegistry: undefined });
  try {
    const address = '../../src/tensor/tensor.ts?without-collection';
    const other = (await import(address)) as typeof module;
    let freed = 0;
    const storage = new module.Storage(device.runtime.acquire(16), () => freed++);
    const tensor = new other.Tensor(device, storage, 'float32', { shape: [4], strides: [1], offset: 0 });
    tensor.dispose();
    expect(freed).toBe(1);
    device.runtime.release(storage.buffer);
  } finally {
    Object.assign(globalThis, { FinalizationRegistry });
  }
});
