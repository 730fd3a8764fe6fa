import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, layerNorm, rmsNorm } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { layerNorm as layerReference, rmsNorm as rmsReference } from '../reference/normalise.ts';
import { tolerances } from '../reference/tolerances.ts';
import { map } from './attention/attention-suite.ts';
import { changeTraits } from './traits.ts';
import { type Float, type Layout, stored, upload } from './upload.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(43);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

interface Problem {
  x: HostArray;
  /** How many of the last axes. */
  axes?: number;
  weight?: HostArray;
  bias?: HostArray;
  eps?: number;
  layouts?: Partial<Record<'x' | 'weight' | 'bias', Layout>>;
}

describe.each([
  ['layerNorm', 'float32', 'this device', {}],
  ['rmsNorm', 'float32', 'this device', {}],
  ['layerNorm', 'float16', 'this device', {}],
  ['rmsNorm', 'float16', 'this device', {}],
  ['layerNorm', 'float32', 'a GPU', { isSoftware: false }],
  ['rmsNorm', 'float32', 'a GPU', { isSoftware: false }],
] as const)('%s in %s, planned for %s', (op, dtype, _name, traits) => {
  let restore: () => void;
  beforeAll(() => (restore = changeTraits(device, traits)));
  afterAll(() => restore());

  async function run({ x, axes = 1, weight, bias, eps, layouts = {} }: Problem): Promise<Float32Array> {
    const normalizedShape = x.shape.slice(-axes);
    const result = device.scope(() => {
      const input = upload(device, x, dtype, layouts.x);
      const options = { weight: weight && upload(device, weight, dtype, layouts.weight), eps };
      if (op === 'rmsNorm') return rmsNorm(input, normalizedShape, options);
      return layerNorm(input, normalizedShape, { ...options, bias: bias && upload(device, bias, dtype, layouts.bias) });
    });
    expect(result.shape).toEqual(x.shape);
    expect(result.dtype).toBe(dtype);
    const values = await result.data();
    result.dispose();
    return values;
  }

  async function expectNormalised(problem: Problem): Promise<void> {
    const { x, axes = 1, weight, bias, eps } = problem;
    const values = await run(problem);
    const reference = op === 'rmsNorm' ? rmsReference : layerReference;
    const expected = reference(stored(x, dtype), x.shape.slice(-axes), {
      weight: weight && stored(weight, dtype),
      bias: bias && op === 'layerNorm' ? stored(bias, dtype) : undefined,
      eps,
    });
    expectClose(values, expected.data, tolerances[dtype].normalised, `${op} of ${x.shape}`);
  }

  test.each([
    [[1]],
    [[7]],
    [[5, 1]],
    [[9, 17]],
    [[2, 3, 33]],
    [[2, 3, 5, 64]],
    [[300]],
    [[3, 257]],
    [[2, 2, 1000]],
    [[2, 5000]],
  ])('shape %j', async (shape) => {
    const last = shape.at(-1)!;
    await expectNormalised({ x: normals(...shape) });
    await expectNormalised({ x: normals(...shape), weight: normals(last), bias: normals(last), eps: 0.1 });
    await expectNormalised({ x: normals(...shape), bias: normals(last) });
  });

  test.each([
    [[4, 5], 2],
    [[3, 4, 7], 2],
    [[3, 4, 7], 3],
    [[2, 3, 5, 1], 2],
    [[2, 3, 4, 5], 3],
    [[2, 1, 2, 1, 3, 3], 4],
  ])('shape %j, the last %i axes together', async (shape, axes) => {
    const inner = shape.slice(-axes);
    await expectNormalised({ x: normals(...shape), axes, weight: normals(...inner), bias: normals(...inner) });
  });

  test('strided views', async () => {
    for (const last of [8, 7]) {
      const [weight, bias] = [normals(last), normals(last)];
      for (const layout of [{ axes: [1, 0, 2] }, { axes: [2, 0, 1] }, { before: [0, 1, 3], after: [1, 0, 2] }]) {
        await expectNormalised({ x: normals(3, 5, last), weight, bias, layouts: { x: layout } });
      }
      const tails = { weight: { before: [4] }, bias: { before: [1], after: [2] } };
      await expectNormalised({ x: normals(3, last), weight, bias, layouts: tails });
      // the normalised axes merge into no two: a copy
      const layouts = { x: { axes: [3, 0, 2, 1] }, weight: { axes: [2, 1, 0] }, bias: { before: [0, 1, 2] } };
      const [w, b] = [normals(3, 4, last), normals(3, 4, last)];
      await expectNormalised({ x: normals(2, 3, 4, last), axes: 3, weight: w, bias: b, layouts });
    }
  });

  test('a mean far from 0 costs no digits of the result', async () => {
    // all of them exact in either dtype
    const x = { shape: [3, 300], data: Float32Array.from({ length: 900 }, () => 1024 + random.integer(-9, 9)) };
    await expectNormalised({ x });
  });

  test('a row of equal numbers, and one of zeros', async () => {
    await expectNormalised({ x: map(normals(3, 20), (value, at) => (at < 20 ? 2.5 : at < 40 ? 0 : value)) });
  });

  test.each([NaN, Infinity])('%f spoils its own row only', async (value) => {
    for (const columns of [13, 300]) {
      const clean = normals(3, columns);
      const wanted = await run({ x: clean });
      const values = await run({ x: map(clean, (other, at) => (at === columns + 5 ? value : other)) });
      values.forEach((got, at) => {
        if (Math.floor(at / columns) !== 1) expect(got).toBe(wanted[at]);
        else if (Number.isNaN(value) || at === columns + 5 || op === 'layerNorm') expect(got).toBeNaN();
        else expect(Math.abs(got)).toBe(0);
      });
    }
  });
});

describe('normalisation', () => {
  test('of float16 rows of whole vectors, and of others, planned for a GPU', async () => {
    const restore = changeTraits(device, { isSoftware: false });
    try {
      for (const columns of [264, 300, 301, 1000, 5000]) {
        const [x, weight, bias] = [normals(3, columns), normals(columns), normals(columns)];
        const result = device.scope(() =>
          layerNorm(upload(device, x, 'float16'), columns, {
            weight: upload(device, weight, 'float16', { before: [columns === 1000 ? 4 : 8] }),
            bias: upload(device, bias, 'float16'),
          }),
        );
        const expected = layerReference(stored(x, 'float16'), [columns], {
          weight: stored(weight, 'float16'),
          bias: stored(bias, 'float16'),
        });
        expectClose(await result.data(), expected.data, tolerances.float16.normalised, `layerNorm of ${columns}`);
        result.dispose();
      }
    } finally {
      restore();
    }
  });

  test('of more workgroups than one dimension holds', async () => {
    await withWorkgroupLimit(device, 3, async () => {
      const x = normals(137, 5);
      const result = device.scope(() => rmsNorm(upload(device, x, 'float32'), 5));
      expectClose(await result.data(), rmsReference(x, [5]).data, tolerances.float32.normalised, 'rmsNorm');
      result.dispose();
    });
  });

  test('compiles nothing new for another shape', async () => {
    const run = async (...shape: number[]) => {
      const result = device.scope(() => layerNorm(device.zeros(shape), shape.at(-1)!));
      await result.data();
      result.dispose();
    };
    await run(3, 5);
    const { pipelines } = device.runtime.counters();
    await run(2, 9, 200);
    expect(device.runtime.counters().pipelines).toBe(pipelines);
  });

  const bad = (dtype: Float = 'float32') => ({ weight: device.zeros([3], { dtype }) });
  test.each<[string, (device: Device) => unknown, string]>([
    [
      'a normalizedShape that is no tail',
      (d) => layerNorm(d.zeros([2, 3]), [2]),
      'layerNorm: normalizedShape must be the last axes of x [2, 3], got [2]',
    ],
    [
      'an empty normalizedShape',
      (d) => rmsNorm(d.zeros([2, 3]), []),
      'rmsNorm: normalizedShape must be the last axes of x [2, 3], got []',
    ],
    [
      'a weight of another shape',
      (d) => rmsNorm(d.zeros([2, 4]), 4, bad()),
      'rmsNorm: weight must have shape [4], got [3]',
    ],
    [
      'a weight of another dtype',
      (d) => rmsNorm(d.zeros([2, 3]), 3, bad('float16')),
      `rmsNorm: weight must have x's dtype float32, got float16`,
    ],
    ['a negative eps', (d) => rmsNorm(d.zeros([3]), 3, { eps: -1 }), 'rmsNorm: eps must be at least 0, got -1'],
    [
      'a bias for rmsNorm',
      (d) => rmsNorm(d.zeros([3]), 3, { bias: d.zeros([3]) } as object),
      `rmsNorm: unknown option 'bias'`,
    ],
  ])('refuses %s', (_name, call, message) => {
    expect(() => device.scope(() => void call(device))).toThrow(message);
  });
});
