/** Initial weights come when they are first used, and not at all where a state dict replaces them. */
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  AdamW,
  clone,
  createDevice,
  Embedding,
  LayerNorm,
  Linear,
  RMSNorm,
  saveSafetensors,
  SelfAttention,
} from '../../src/index.ts';
import type { Device, Module, Tensor } from '../../src/index.ts';
import { sizeClass } from '../../src/gpu/buffers.ts';
import { testDevice } from '../device.ts';

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterEach(() => vi.restoreAllMocks());

const MODULES: [name: string, make: (seed: number) => Module][] = [
  ['Linear', (seed) => new Linear(device, { inFeatures: 6, outFeatures: 5, seed })],
  ['Linear in float16', (seed) => new Linear(device, { inFeatures: 6, outFeatures: 5, dtype: 'float16', seed })],
  ['Embedding', (seed) => new Embedding(device, { numEmbeddings: 7, embeddingDim: 3, seed })],
  ['LayerNorm', () => new LayerNorm(device, { normalizedShape: 6 })],
  ['RMSNorm', () => new RMSNorm(device, { normalizedShape: [2, 3] })],
  ['SelfAttention', (seed) => new SelfAttention(device, { embedDim: 8, numHeads: 2, seed })],
];

test('a state dict that cannot be copied leaves the initial weights', async () => {
  let fails = false;
  const own = await createDevice({
    onCompile: () => {
      if (fails) throw new Error('stop');
    },
  });
  const make = () => new Linear(own, { inFeatures: 5, outFeatures: 5, seed: 4 });
  const [module, expected] = [make(), make()];
  const dict = { weight: own.zeros([5, 5]), bias: own.zeros([5]) };
  fails = true;
  expect(() => module.loadStateDict(dict)).toThrow('stop');
  fails = false;
  expect([...(await module.parameters()[0].data())]).toEqual([...(await expected.parameters()[0].data())]);
  own.dispose();
});

const dispatches = (work: () => void): number => {
  const before = device.runtime.counters().dispatches;
  work();
  return device.runtime.counters().dispatches - before;
};

const valuesOf = async (module: Module): Promise<Record<string, number[]>> => {
  const entries = Object.entries(module.stateDict()).map(async ([name, tensor]) => [name, [...(await tensor.data())]]);
  return Object.fromEntries(await Promise.all(entries)) as Record<string, number[]>;
};

describe.each(MODULES)('%s', (_name, make) => {
  test('draws and uploads nothing when it is made, and its memory counts', () => {
    const { live } = device.memory();
    const lists = [vi.spyOn(Float32Array, 'from'), vi.spyOn(Float32Array.prototype, 'fill')];
    const written = vi.spyOn(device.gpu.queue, 'writeBuffer');
    expect(
      dispatches(() => {
        using module = make(1);
        for (const list of lists) expect(list).not.toHaveBeenCalled();
        const bytes = module.parameters().reduce((sum, { size }) => sum + sizeClass(4 * size), 0);
        expect(device.memory().live).toBe(live + bytes);
      }),
    ).toBe(0);
    expect(written).not.toHaveBeenCalled();
    expect(device.memory().live).toBe(live);
  });

  test('only copies when a state dict is loaded right away', async () => {
    using from = make(1);
    const expected = await valuesOf(from);
    using to = make(2);
    const planned = vi.spyOn(device.runtime, 'dispatch');
    to.loadStateDict(from.stateDict());
    expect(planned.mock.calls.map(([{ shader }]) => shader.name)).toEqual(
      from.parameters().map(() => 'elementwise/copy'),
    );
    expect(await valuesOf(to)).toEqual(expected);
    expect(planned).toHaveBeenCalledTimes(from.parameters().length);
  });

  test('gives the same weights whatever uses them first', async () => {
    using plain = make(3);
    const expected = await valuesOf(plain);
    const uses: ((module: Module, tensor: Tensor) => void)[] = [
      (_, tensor) => void tensor.buffer,
      (_, tensor) => tensor.slice(0, 0, 1).dispose(),
      (_, tensor) => clone(tensor.slice(0, 0, 1)).dispose(),
      (_, tensor) => clone(tensor.detach()).dispose(),
      (module) => module.loadStateDict(module.stateDict()),
      (module) => {
        // tensors that are only named, and freed, stay to be filled
        device.scope(() => module.parameters().map((tensor) => tensor.detach()));
        device.runtime.launchesOf(() => module.parameters().map((tensor) => clone(tensor)));
      },
    ];
    for (const use of uses) {
      using module = make(3);
      for (const tensor of module.parameters()) use(module, tensor);
      expect(await valuesOf(module)).toEqual(expected);
    }
  });

  test('is drawn before it is saved, and before a step changes it', async () => {
    using plain = make(4);
    const expected = await valuesOf(plain);
    using module = make(4);
    expect((await saveSafetensors(module.stateDict())).length).toBeGreaterThan(8);
    expect(await valuesOf(module)).toEqual(expected);
    using stepped = make(4);
    const optimiser = new AdamW(stepped.stateDict(), { lr: 0, weightDecay: 0 });
    for (const parameter of stepped.parameters()) {
      using gradient = device.zeros(parameter.shape, { dtype: parameter.dtype });
      parameter.grad = gradient;
    }
    optimiser.step();
    optimiser.dispose();
    expect(await valuesOf(stepped)).toEqual(expected);
  });
});

test('a state dict may hold the tensors of an undrawn module, exchanged', async () => {
  const [a, b] = [1, 2].map((seed) => new Linear(device, { inFeatures: 3, outFeatures: 3, bias: false, seed }));
  const [first, second] = await Promise.all([a, b].map(valuesOf));
  const [c, d] = [1, 2].map((seed) => new Linear(device, { inFeatures: 3, outFeatures: 3, bias: false, seed }));
  c.loadStateDict(d.stateDict());
  expect(await valuesOf(c)).toEqual(second);
  expect(await valuesOf(d)).toEqual(second);
  expect(first).not.toEqual(second);
  for (const module of [a, b, c, d]) module.dispose();
});

test('a weight does not depend on what else the module has', async () => {
  using whole = new Linear(device, { inFeatures: 4, outFeatures: 6, seed: 5 });
  using bare = new Linear(device, { inFeatures: 4, outFeatures: 3, bias: false, seed: 5 });
  const [{ weight, bias }, other] = await Promise.all([valuesOf(whole), valuesOf(bare)]);
  expect(other['weight']).toEqual(weight.slice(0, 12));
  expect(bias).not.toEqual(weight.slice(0, 6));
});
