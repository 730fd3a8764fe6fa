import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { planRandom } from '../../src/kernels/elementwise.ts';
import { contiguousStrides, sizeOf, type Shape } from '../../src/tensor/shape.ts';
import type { Device, FloatDType, Tensor } from '../../src/index.ts';
import type { RandomNumbers } from '../../src/tensor/random.ts';
import { testDevice } from '../device.ts';
import { normals, uniforms } from '../reference/random.ts';

let device: Device;
const made: Tensor[] = [];
beforeAll(async () => {
  device = await testDevice();
});
afterEach(() => {
  for (const tensor of made.splice(0)) tensor.dispose();
});

const BASE = { distribution: 'uniform', scale: 1, seed: 1, stream: 0 } as const;

async function drawn(shape: Shape, numbers: Partial<RandomNumbers>, dtype: FloatDType = 'float32') {
  const tensor = device.filled(shape, dtype, 'test', { ...BASE, ...numbers });
  made.push(tensor);
  return tensor.data();
}

/** The bits of float32 numbers, so that −0 and 0 differ. */
const bitsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);

/** The float16 nearest to a float32, ties to even. */
function half(value: number): number {
  const magnitude = Math.abs(value);
  const unit = 2 ** (Math.max(Math.floor(Math.log2(magnitude)), -14) - 10);
  const whole = Math.floor(magnitude / unit);
  const rest = magnitude / unit - whole;
  const isUp = rest > 0.5 || (rest === 0.5 && whole % 2 === 1);
  return Math.sign(value) * unit * (isUp ? whole + 1 : whole);
}

describe('uniform', () => {
  test.each([
    [[7], 1],
    [[3, 5], 0.0625],
    [[4, 6], 0.1],
    [[2, 3, 257], Math.sqrt(6 / 777)],
  ])('%j within ±%d is what float64 says, to the last bit', async (shape, bound) => {
    const scale = Math.fround(bound);
    for (const seed of [0, 5, 2 ** 32 + 1, 2 ** 53 - 1, -1]) {
      const got = await drawn(shape, { seed, stream: 3, scale: bound });
      const expected = Float32Array.from(uniforms(sizeOf(shape), { seed, stream: 3, scale }));
      expect(bitsOf(got)).toEqual(bitsOf(expected));
      for (const value of got) expect(Math.abs(value)).toBeLessThan(scale);
    }
  });

  test.each<[Shape]>([[[64]], [[5, 7]], [[3, 1]], [[2, 6]]])('%j in float16 is that, rounded', async (shape) => {
    for (const scale of [1, Math.fround(0.02), 2 ** -12]) {
      const whole = uniforms(sizeOf(shape), { seed: 9, stream: 0, scale }).map(Math.fround);
      expect([...(await drawn(shape, { seed: 9, scale }, 'float16'))]).toEqual(whole.map(half));
    }
  });

  test('these bits come on every device', async () => {
    const got = await drawn([6], { seed: 42, scale: 0.125 });
    expect([...bitsOf(got)]).toMatchInlineSnapshot(`
      [
        3166320684,
        3171357258,
        3183889937,
        1036207237,
        3175605058,
        3172395590,
      ]
    `);
  });

  test('is uniform', async () => {
    const values = await drawn([100_000], { seed: 11 });
    const moment = (power: number) => values.reduce((sum, value) => sum + value ** power, 0) / values.length;
    // four standard errors
    expect(Math.abs(moment(1))).toBeLessThan(0.0074);
    expect(Math.abs(moment(2) - 1 / 3)).toBeLessThan(0.0038);
    expect(distanceTo(values, (x) => (x + 1) / 2)).toBeLessThan(KOLMOGOROV / Math.sqrt(values.length));
  });
});

describe('normal', () => {
  test.each([[[9]], [[3, 5]], [[2, 3, 257]]])('%j is what float64 says, within 10⁻⁷ and a rounding', async (shape) => {
    for (const seed of [0, 5, 2 ** 32 + 1, 2 ** 53 - 1]) {
      const scale = Math.fround(0.3);
      const got = await drawn(shape, { distribution: 'normal', seed, stream: 2, scale });
      for (const [i, value] of normals(sizeOf(shape), { seed, stream: 2, scale }).entries()) {
        expect(Math.abs(got[i] - value)).toBeLessThanOrEqual(scale * 1e-7 + Math.abs(value) * 2 ** -24);
      }
    }
  });

  test('float16 is float32, rounded', async () => {
    for (const shape of [[40], [5, 7]]) {
      const whole = await drawn(shape, { distribution: 'normal', seed: 9 });
      const halves = await drawn(shape, { distribution: 'normal', seed: 9 }, 'float16');
      expect([...halves]).toEqual([...whole].map(half));
    }
  });

  test('these bits come on every device', async () => {
    const got = await drawn([8], { distribution: 'normal', seed: 42 });
    expect([...bitsOf(got)]).toMatchInlineSnapshot(`
      [
        1065111004,
        3211218594,
        3216335987,
        3217329767,
        1067299399,
        3211603591,
        3181862147,
        3205125570,
      ]
    `);
  });

  test('is normal', async () => {
    const values = await drawn([100_000], { distribution: 'normal', seed: 12 });
    const moment = (power: number) => values.reduce((sum, value) => sum + value ** power, 0) / values.length;
    // four standard errors
    expect(Math.abs(moment(1))).toBeLessThan(0.0127);
    expect(Math.abs(moment(2) - 1)).toBeLessThan(0.018);
    expect(Math.abs(moment(3))).toBeLessThan(0.05);
    expect(Math.abs(moment(4) - 3)).toBeLessThan(0.125);
    expect(distanceTo(values, normalShare)).toBeLessThan(KOLMOGOROV / Math.sqrt(values.length));
    for (const lag of [1, 2, 3, 4, 500]) {
      const product = values.reduce((sum, value, i) => sum + value * values[(i + lag) % values.length], 0);
      expect(Math.abs(product / values.length)).toBeLessThan(0.0127);
    }
  });
});

describe('what decides', () => {
  test('seed, stream and index, not the shape nor what else was drawn', async () => {
    for (const distribution of ['uniform', 'normal'] as const) {
      const whole = await drawn([60], { distribution });
      expect(await drawn([3, 4, 5], { distribution })).toEqual(whole);
      expect(await drawn([20], { distribution })).toEqual(whole.slice(0, 20));
      expect(await drawn([60], { distribution, stream: 1 })).not.toEqual(whole);
      expect(await drawn([60], { distribution, seed: 1 + 2 ** 32 })).not.toEqual(whole);
    }
  });

  test('neighbouring seeds and streams are independent', async () => {
    const all = await Promise.all(
      [{}, { seed: 2 }, { stream: 1 }].map((other) => drawn([50_000], { distribution: 'normal', ...other })),
    );
    for (const [i, a] of all.entries()) {
      for (const b of all.slice(i + 1)) {
        const product = a.reduce((sum, value, at) => sum + value * b[at], 0) / a.length;
        expect(Math.abs(product)).toBeLessThan(4 / Math.sqrt(a.length));
      }
    }
  });

  test('the padding of odd float16 rows is zero', async () => {
    const tensor = device.filled([3, 5], 'float16', 'test', BASE);
    made.push(tensor);
    const { gpu } = tensor.storage('test');
    const words = device.wrap(gpu, [9], { dtype: 'uint32' });
    made.push(words);
    expect(contiguousStrides([3, 5], 'float16')).toEqual([6, 1]);
    for (const at of [2, 5, 8]) expect((await words.data())[at] >>> 16).toBe(0);
  });
});

test('a large tensor takes several rows of workgroups', () => {
  const launch = planRandom({ op: 'test', shape: [2 ** 27], dtype: 'float32', ...BASE }, device.traits);
  expect(launch.workgroups[0] * launch.workgroups[1]).toBeGreaterThanOrEqual(2 ** 27 / 1024);
  expect(Math.max(...launch.workgroups)).toBeLessThanOrEqual(65_535);
});

/** The distance that one sample in 10,000 exceeds, times the root of its size. */
const KOLMOGOROV = 2.23;

/** The largest distance between the share of values below x and `share(x)` (Kolmogorov & Smirnov). */
function distanceTo(values: Float32Array, share: (x: number) => number): number {
  const size = values.length;
  return values
    .toSorted()
    .reduce((most, x, i) => Math.max(most, Math.abs(share(x) - i / size), Math.abs(share(x) - (i + 1) / size)), 0);
}

/** The share of a standard normal below x: Simpson's rule over its density. */
function normalShare(x: number): number {
  const steps = 60;
  const step = x / steps;
  const density = (t: number) => Math.exp((-t * t) / 2) / Math.sqrt(2 * Math.PI);
  let sum = density(0) + density(x);
  for (let i = 1; i < steps; i++) sum += (i % 2 === 1 ? 4 : 2) * density(i * step);
  return 0.5 + (sum * step) / 3;
}
