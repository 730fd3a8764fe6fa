import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  AdamW,
  crossEntropy,
  type Device,
  Dropout,
  Linear,
  loadSafetensors,
  Module,
  saveSafetensors,
  type Tensor,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

/** Small, so that little is compiled; test/examples does the same with attention. */
class Dropping extends Module {
  readonly #first: Linear;
  readonly #dropout: Dropout;
  readonly #head: Linear;

  constructor(seed: number) {
    super('Dropping');
    this.#first = this.registerModule('first', new Linear(device, { inFeatures: 8, outFeatures: 8, seed }));
    this.#dropout = this.registerModule('dropout', new Dropout({ p: 0.3 }));
    this.#head = this.registerModule('head', new Linear(device, { inFeatures: 8, outFeatures: 5, seed: seed + 9 }));
  }

  forward(x: Tensor): Tensor {
    return this.#head.forward(this.#dropout.forward(this.#first.forward(x)));
  }
}

/** A run that starts anew, or from the bytes of another, takes `steps` steps, and is saved. */
async function train(steps: number, from?: Uint8Array): Promise<{ losses: number[]; bytes: Uint8Array; seed: number }> {
  using model = new Dropping(from ? 100 : 1); // what is loaded replaces the weights
  using x = device.randn([2, 6, 8], { seed: 5 });
  using targets = device.tensor(
    Int32Array.from({ length: 12 }, (_, i) => i % 5),
    [2, 6],
  );
  const loaded = from ? await loadSafetensors(device, from) : {};
  const part = (name: string) => {
    const own = Object.entries(loaded).filter(([key]) => key.startsWith(`${name}.`));
    return Object.fromEntries(own.map(([key, tensor]) => [key.slice(name.length + 1), tensor]));
  };
  if (from) model.loadStateDict(part('model'));
  using optimiser = new AdamW(model.namedParameters(), { lr: 0.01 });
  if (from) optimiser.loadStateDict(part('optimiser'));
  for (const tensor of Object.values(loaded)) tensor.dispose();
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    using loss = device.scope(() => {
      const result = crossEntropy(model.forward(x), targets);
      result.backward();
      optimiser.step();
      optimiser.zeroGrad();
      return result;
    });
    losses.push((await loss.data())[0]);
  }
  const parts = Object.entries({ model: model.stateDict(), optimiser: optimiser.stateDict() });
  const tensors = parts.flatMap(([name, dict]) =>
    Object.entries(dict).map(([key, value]) => [`${name}.${key}`, value]),
  );
  return { losses, bytes: await saveSafetensors(Object.fromEntries(tensors)), seed: device.seed };
}

test("with dropout, 10 and 10 steps equal 20 bit for bit if the device's seed is kept", async () => {
  device.seed = 77;
  const whole = await train(20);
  device.seed = 77;
  const first = await train(10);
  device.seed = first.seed;
  const second = await train(10, first.bytes);
  expect([...first.losses, ...second.losses]).toEqual(whole.losses);
  expect(second.bytes).toEqual(whole.bytes);
  expect(second.seed).toBe(whole.seed);
  device.seed = 0;
  const astray = await train(10, first.bytes);
  expect(astray.losses).not.toEqual(second.losses);
});
