import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Device,
  RotaryEmbedding,
  type RotaryEmbeddingModuleOptions,
  type RotaryScaling,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { expectClose } from '../reference/compare.ts';
import { rotaryEmbedding as reference } from '../reference/rotary-embedding.ts';
import { tolerances } from '../reference/tolerances.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

/** A table of `factor` times cos or sin of position times frequency, rounded to float32. */
function table(turn: (angle: number) => number, frequencies: number[], maxLength: number, factor = 1): number[] {
  return Array.from({ length: maxLength }, (_, position) =>
    frequencies.map((frequency) => Math.fround(factor * turn(position * frequency))),
  ).flat();
}

async function expectTables(module: RotaryEmbedding, frequencies: number[], factor = 1): Promise<void> {
  const shape = [module.maxLength, frequencies.length];
  expect(module.cos.shape).toEqual(shape);
  expect(module.sin.shape).toEqual(shape);
  const close = { atol: 1e-6, rtol: 0 };
  expectClose(await module.cos.data(), table(Math.cos, frequencies, module.maxLength, factor), close, 'cos');
  expectClose(await module.sin.data(), table(Math.sin, frequencies, module.maxLength, factor), close, 'sin');
  expect(module.attentionFactor).toBeCloseTo(factor, 12);
}

test('tables, and rows rotated by them at offsets and positions', async () => {
  for (const interleaved of [false, true]) {
    using module = new RotaryEmbedding(device, { dim: 6, maxLength: 12, interleaved });
    await expectTables(module, [1, 10000 ** (-1 / 3), 10000 ** (-2 / 3)]);
    using x = device.randn([2, 3, 4, 8], { seed: 1 });
    using ids = device.tensor(Int32Array.of(0, 11, 3, 5), [1, 4]);
    using shifted = module.forward(x, { offset: [8, 2] });
    using placed = module.forward(x, { positions: ids });
    const host = { shape: x.shape, data: await x.data() };
    const [cos, sin] = [module.cos, module.sin].map(({ shape }) => ({ shape, data: [] as ArrayLike<number> }));
    cos.data = await module.cos.data();
    sin.data = await module.sin.data();
    const byOffset = reference(host, cos, sin, { position: (b, n) => [8, 2][b] + n, interleaved });
    const byIds = reference(host, cos, sin, { position: (_, n) => [0, 11, 3, 5][n], interleaved });
    expectClose(await shifted.data(), byOffset.data, tolerances.float32.rotated, 'offset');
    expectClose(await placed.data(), byIds.data, tolerances.float32.rotated, 'positions');
  }
});

test('scores of rotated queries and keys depend only on the difference of their positions', async () => {
  using module = new RotaryEmbedding(device, { dim: 16, base: 500, maxLength: 100 });
  using q = device.randn([1, 1, 16], { seed: 2 });
  using k = device.randn([1, 1, 16], { seed: 3 });
  const score = async (query: number, key: number) => {
    using a = module.forward(q, { offset: query });
    using b = module.forward(k, { offset: key });
    const [left, right] = [await a.data(), await b.data()];
    return left.reduce((sum, value, i) => sum + value * right[i], 0);
  };
  const wanted = await score(7, 0);
  for (const shift of [1, 40, 92]) expect(await score(7 + shift, shift)).toBeCloseTo(wanted, 4);
  expect(Math.abs((await score(8, 0)) - wanted)).toBeGreaterThan(0.01);
});

describe('scaling, as Hugging Face defines it', () => {
  const dim = 8;
  const plain = (base: number) => [0, 1, 2, 3].map((i) => 1 / base ** (i / 4));
  const make = (scaling: RotaryScaling, base = 10000) =>
    new RotaryEmbedding(device, { dim, base, maxLength: 9, scaling });

  test('linear divides positions', async () => {
    using module = make({ type: 'linear', factor: 4 });
    await expectTables(
      module,
      plain(10000).map((frequency) => frequency / 4),
    );
  });

  test('ntk raises the base, so that the slowest pair is divided by the factor', async () => {
    using module = make({ type: 'ntk', factor: 3 });
    const frequencies = plain(10000 * 3 ** (8 / 6));
    expect(frequencies[3]).toBeCloseTo(plain(10000)[3] / 3, 12);
    await expectTables(module, frequencies);
  });

  test('llama3 keeps short wavelengths, divides long ones, and blends between', async () => {
    // wavelengths 2π · (1, 10, 100, 1000); below 100/4 = 25 kept, above 100/1 = 100 divided by 8
    using module = make({ type: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxLength: 100 });
    const [first, second, third, fourth] = plain(10000);
    const smooth = (100 / (2 * Math.PI * 10) - 1) / (4 - 1);
    expect(smooth).toBeGreaterThan(0);
    const blended = ((1 - smooth) * second) / 8 + smooth * second;
    await expectTables(module, [first, blended, third / 8, fourth / 8]);
  });

  test('yarn ramps between pairs, and scales the tables', async () => {
    // pairs that turn β times in 512: 8 ln(512 / 2πβ) / (2 ln 10000) = −0.41 for 32 and 1.91 for 1: a ramp from 0 to 2
    using module = make({ type: 'yarn', factor: 16, originalMaxLength: 512 });
    const [first, second, third, fourth] = plain(10000);
    const frequencies = [first, second / 2 + second / 32, third / 16, fourth / 16];
    await expectTables(module, frequencies, 0.1 * Math.log(16) + 1);
    using given = make({ type: 'yarn', factor: 16, originalMaxLength: 512, betaFast: 2, betaSlow: 0.1 });
    // 1.61 for 2 and 2.91 for 0.1: a ramp from 1 to 3
    await expectTables(given, [first, second, third / 2 + third / 32, fourth / 16], 0.1 * Math.log(16) + 1);
  });
});

test('outlives its scope; has nothing in the state dict; is disposed with its tables', () => {
  const module = device.scope(() => ({ made: new RotaryEmbedding(device, { dim: 4, maxLength: 3 }) })).made;
  expect(module.cos.disposed).toBe(false);
  expect(module.stateDict()).toEqual({});
  module.dispose();
  module.dispose();
  expect(module.cos.disposed && module.sin.disposed).toBe(true);
});

test.each<[object, string]>([
  [{ dim: 5 }, 'dim must be even, got 5'],
  [{ maxLength: 0 }, 'maxLength must be a positive integer, got 0'],
  [{ base: 1 }, 'base must exceed 1, got 1'],
  [{ scaling: { type: 'dynamic' } }, `scaling.type must be one of linear, ntk, llama3, yarn, got 'dynamic'`],
  [{ scaling: null }, `scaling.type must be one of linear, ntk, llama3, yarn, got undefined`],
  [{ scaling: { type: 'linear' } }, 'scaling.factor must be a number greater than 0, got undefined'],
  [{ dim: 2, scaling: { type: 'ntk', factor: 2 } }, 'dim must exceed 2 for ntk scaling, got 2'],
  [
    { scaling: { type: 'llama3', factor: 2, lowFreqFactor: 4, highFreqFactor: 4, originalMaxLength: 8 } },
    'scaling.highFreqFactor must exceed lowFreqFactor 4, got 4',
  ],
])('refuses %j', (options, message) => {
  const all = { dim: 8, maxLength: 4, ...options } as RotaryEmbeddingModuleOptions;
  expect(() => new RotaryEmbedding(device, all)).toThrow(`RotaryEmbedding: ${message}`);
});
