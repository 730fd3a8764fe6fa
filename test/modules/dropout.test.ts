import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  CrossAttention,
  type Device,
  Dropout,
  dropout,
  FlashAttention,
  flashAttention,
  LocalAttention,
  type Module,
  MultiHeadAttention,
  ScaledDotProductAttention,
  scaledDotProductAttention,
  SelfAttention,
  type Tensor,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { expectClose } from '../reference/compare.ts';
import { tolerances } from '../reference/tolerances.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

async function read(make: () => Tensor): Promise<number[]> {
  using tensor = device.scope(make);
  return [...(await tensor.data())];
}

describe('Dropout', () => {
  test('drops as the op does, in training mode only', async () => {
    using x = device.randn([3, 5], { seed: 1 });
    using module = new Dropout({ p: 0.4 });
    expect(module.parameters()).toEqual([]);
    const wanted = await read(() => dropout(x, { p: 0.4, seed: 7 }));
    expect(await read(() => module.forward(x, { seed: 7 }))).toEqual(wanted);
    expect(wanted.filter((value) => value === 0).length).toBeGreaterThan(0);
    expect(await read(() => module.eval().forward(x))).toEqual([...(await x.data())]);
    expect(new Dropout().p).toBe(0.5);
  });

  test('drops other elements each time', async () => {
    using x = device.randn([64], { seed: 1 });
    using module = new Dropout();
    expect(await read(() => module.forward(x))).not.toEqual(await read(() => module.forward(x)));
  });

  test('bad input', () => {
    expect(() => new Dropout({ p: 1.5 })).toThrow('Dropout: p must be a number from 0 to 1, got 1.5');
    expect(() => new Dropout({ P: 0.5 } as object)).toThrow(`Dropout: unknown option 'P'; did you mean 'p'?`);
    using x = device.zeros([2]);
    using module = new Dropout().eval();
    expect(() => module.forward(x, { seed: -1 })).toThrow(
      'Dropout: seed must be a whole number from 0 to 2^53 - 1, got -1',
    );
    expect(() => module.forward([1] as unknown as Tensor)).toThrow('Dropout: x must be a Tensor, got [1]');
  });
});

const sizes = { embedDim: 8, numHeads: 2, dropoutP: 0.5, seed: 1 };

describe.each<[string, () => Module, (module: never, x: Tensor, dropoutSeed?: number) => Tensor]>([
  [
    'SelfAttention',
    () => new SelfAttention(device, sizes),
    (module: SelfAttention, x, dropoutSeed) => module.forward(x, { dropoutSeed }).output,
  ],
  [
    'SelfAttention with weights',
    () => new SelfAttention(device, sizes),
    (module: SelfAttention, x, dropoutSeed) => module.forward(x, { dropoutSeed, needWeights: true }).output,
  ],
  [
    'MultiHeadAttention',
    () => new MultiHeadAttention(device, sizes),
    (module: MultiHeadAttention, x, dropoutSeed) => module.forward(x, x, x, { dropoutSeed }).output,
  ],
  [
    'CrossAttention',
    () => new CrossAttention(device, sizes),
    (module: CrossAttention, x, dropoutSeed) => module.forward(x, x, { dropoutSeed }).output,
  ],
  [
    'LocalAttention',
    () => new LocalAttention(device, { ...sizes, windowSize: 6 }),
    (module: LocalAttention, x, dropoutSeed) => module.forward(x, { dropoutSeed }).output,
  ],
  [
    'FlashAttention',
    () => new FlashAttention({ dropoutP: 0.5 }),
    (module: FlashAttention, x, dropoutSeed) => module.forward(x, x, x, { dropoutSeed }).output,
  ],
  [
    'ScaledDotProductAttention',
    () => new ScaledDotProductAttention({ dropoutP: 0.5 }),
    (module: ScaledDotProductAttention, x, dropoutSeed) => module.forward(x, x, x, { dropoutSeed }).output,
  ],
])('%s', (name, make, forward) => {
  test('drops weights in training mode only, the same ones for one seed', async () => {
    using module = make();
    using x = device.randn([1, 7, 8], { seed: 2 });
    const run = (seed?: number) => read(() => forward(module as never, x, seed));
    const first = await run(3);
    expect(await run(3)).toEqual(first);
    expect(await run(4)).not.toEqual(first);
    expect(await run()).not.toEqual(await run());
    module.eval();
    const plain = await run(3);
    expect(plain).not.toEqual(first);
    expect(await run()).toEqual(plain);
    expect(() => forward(module as never, x, 0.5)).toThrow('dropoutSeed must be a whole number');
    expect(name).toContain('Attention');
  });
});

describe('attention modules', () => {
  test('drop the weights that the ops drop', async () => {
    using x = device.randn([1, 7, 8], { seed: 2 });
    const options = { dropoutP: 0.5, dropoutSeed: 3 };
    using flash = new FlashAttention({ dropoutP: 0.5 });
    using materialised = new ScaledDotProductAttention({ dropoutP: 0.5 });
    const [got, wanted] = [flash.forward(x, x, x, { dropoutSeed: 3 }), flashAttention(x, x, x, options)];
    expect([...(await got.output.data())]).toEqual([...(await wanted.output.data())]);
    const forward = materialised.forward(x, x, x, { dropoutSeed: 3, needWeights: true });
    const op = scaledDotProductAttention(x, x, x, { ...options, returnWeights: true });
    expectClose(await forward.output.data(), await got.output.data(), tolerances.float32.attention, 'materialised');
    expect([...(await forward.weights!.data())]).toEqual([...(await op.weights!.data())]);
    for (const tensor of [got.output, wanted.output, forward.output, forward.weights!, op.output, op.weights!]) {
      tensor.dispose();
    }
  });

  test('refuse a dropoutP out of range', () => {
    const message = 'dropoutP must be a number from 0 to 1, got 2';
    expect(() => new SelfAttention(device, { ...sizes, dropoutP: 2 })).toThrow(`SelfAttention: ${message}`);
    expect(() => new FlashAttention({ dropoutP: 2 })).toThrow(`FlashAttention: ${message}`);
    expect(() => new ScaledDotProductAttention({ dropoutP: 2 })).toThrow(`ScaledDotProductAttention: ${message}`);
    using x = device.zeros([1, 2, 4]);
    expect(() => new FlashAttention().forward(x, x, x, { dropoutP: 0.5 } as object)).toThrow(
      `FlashAttention.forward: unknown option 'dropoutP'`,
    );
  });
});
