import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, softmax } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { softmax as reference, type SoftmaxOptions } from '../reference/softmax.ts';
import { tolerances } from '../reference/tolerances.ts';
import { boolMask, floatMask, map } from './attention/attention-suite.ts';
import { changeTraits } from './traits.ts';
import { type Float, type Layout, stored, upload } from './upload.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

interface Problem extends SoftmaxOptions {
  x: HostArray;
  layouts?: Partial<Record<'x' | 'mask', Layout>>;
}

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

async function run({ x, mask, layouts = {}, ...options }: Problem, dtype: Float): Promise<Float32Array> {
  const result = device.scope(() =>
    softmax(upload(device, x, dtype, layouts.x), {
      ...options,
      mask: mask && upload(device, mask, dtype, layouts.mask),
    }),
  );
  expect(result.shape).toEqual(x.shape);
  expect(result.dtype).toBe(dtype);
  const values = await result.data();
  result.dispose();
  return values;
}

async function expectSoftmax(problem: Problem, dtype: Float): Promise<Float32Array> {
  const { x, mask, layouts: _, ...options } = problem;
  const values = await run(problem, dtype);
  const expected = reference(stored(x, dtype), { ...options, mask: mask && stored(mask, dtype) });
  expectClose(values, expected.data, tolerances[dtype].softmax, `softmax of ${x.shape}`);
  return values;
}

const random = new Random(2);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

describe.each([
  ['float32', 'this device', {}],
  ['float16', 'this device', {}],
  ['float32', 'a GPU', { isSoftware: false }],
  ['float16', 'a GPU', { isSoftware: false }],
] as const)('softmax in %s, planned for %s', (dtype, _name, traits) => {
  let restore: () => void;
  beforeAll(() => (restore = changeTraits(device, traits)));
  afterAll(() => restore());

  test.each([
    [[1]],
    [[7]],
    [[5, 1]],
    [[9, 17]],
    [[3, 16]],
    [[2, 3, 33]],
    [[2, 3, 5, 64]],
    [[2, 1, 3, 255]],
    [[256]],
    [[3, 257]],
    [[2, 2, 1000]],
    [[2, 5000]],
  ])('shape %j', async (shape) => {
    await expectSoftmax({ x: normals(...shape) }, dtype);
    await expectSoftmax({ x: normals(...shape), scale: -2.5 }, dtype);
    await expectSoftmax({ x: normals(...shape), scale: 0 }, dtype);
  });

  test.each([
    [
      [2, 3, 9, 13],
      [[1], [13], [9, 1], [9, 13], [3, 1, 13], [2, 1, 1, 13], [1, 3, 9, 1], [2, 3, 9, 13]],
    ],
    [
      [2, 9, 13],
      [[13], [9, 13], [2, 1, 13], [2, 9, 13]],
    ],
    [
      [9, 300],
      [[1], [300], [9, 1], [9, 300]],
    ],
    [[13], [[1], [13]]],
  ])('shape %j with masks %j', async (shape, masks) => {
    for (const mask of masks) {
      await expectSoftmax({ x: normals(...shape), mask: boolMask(random, mask) }, dtype);
      await expectSoftmax({ x: normals(...shape), mask: floatMask(random, mask), scale: 0.5 }, dtype);
    }
  });

  test.each([
    [5, 5],
    [9, 40],
    [40, 9],
    [20, 300],
  ])('causal in both alignments, %i queries and %i keys', async (queries, keys) => {
    for (const isCausal of [true, 'top-left', 'bottom-right'] as const) {
      await expectSoftmax({ x: normals(2, queries, keys), isCausal }, dtype);
      await expectSoftmax({ x: normals(2, 2, queries, keys), isCausal, mask: floatMask(random, [keys]) }, dtype);
    }
  });

  test.each<[string, Layout]>([
    ['transposed', { axes: [0, 2, 1] }],
    ['with its columns outermost', { axes: [2, 1, 0] }],
    ['sliced at odd elements', { before: [1, 1, 1], after: [0, 2, 3] }],
    ['permuted and sliced', { axes: [1, 2, 0], before: [0, 1, 3], after: [2, 0, 1] }],
  ])('x and mask %s', async (_name, layout) => {
    for (const shape of [
      [3, 8, 20],
      [2, 7, 19],
    ]) {
      for (const mask of [boolMask(random, shape), floatMask(random, shape)]) {
        await expectSoftmax({ x: normals(...shape), mask, layouts: { x: layout, mask: layout } }, dtype);
      }
    }
  });

  test('rows far from zero, and outliers', async () => {
    const range = dtype === 'float32' ? [-2.4e5, -1e4, 1e4, 2.4e5] : [-6e4, -1e4, 1e4, 6e4];
    for (const columns of [20, 300]) {
      for (const base of range) {
        // all of them exact in either dtype
        const step = dtype === 'float32' ? 0.25 : 32;
        const x = {
          shape: [5, columns],
          data: Float32Array.from({ length: 5 * columns }, () => base + step * random.integer(-9, 9)),
        };
        await expectSoftmax({ x }, dtype);
        await expectSoftmax({ x: map(normals(5, columns), (value, at) => (at === 7 ? base : value)) }, dtype);
      }
    }
  });

  test('a row in which everything is masked is 0, whatever it holds', async () => {
    const x = map(normals(4, 13), (value, at) => (Math.floor(at / 13) === 2 ? NaN : value));
    const hidden = (to: number) => (_: number, at: number) => (Math.floor(at / 13) === 2 ? to : 1 - to);
    const bools = { shape: [4, 13], data: Uint8Array.from({ length: 52 }, hidden(0)) };
    const numbers = {
      shape: [4, 13],
      data: Float32Array.from({ length: 52 }, (_, at) => (at >= 26 && at < 39 ? -Infinity : 1)),
    };
    for (const mask of [bools, numbers]) {
      const values = await expectSoftmax({ x, mask }, dtype);
      expect(values.subarray(26, 39).every((value) => value === 0)).toBe(true);
    }
    await expectSoftmax({ x, mask: { shape: [1], data: Uint8Array.of(0) } }, dtype);
  });

  test.each([NaN, Infinity, -Infinity])('a masked %f never leaks', async (value) => {
    for (const columns of [13, 300]) {
      const x = map(normals(4, columns), (other, at) => (at % columns === 5 ? value : other));
      const seen = Float32Array.from({ length: columns }, (_, at) => (at === 5 ? 0 : 1));
      await expectSoftmax({ x, mask: { shape: [columns], data: Uint8Array.from(seen) } }, dtype);
      await expectSoftmax({ x, mask: { shape: [columns], data: seen.map((one) => (one ? 0 : -Infinity)) } }, dtype);
    }
  });

  test('NaN spoils its own row only, and −∞ weighs nothing', async () => {
    for (const columns of [13, 300]) {
      const clean = normals(3, columns);
      const wanted = await run({ x: clean }, dtype);
      const values = await run({ x: map(clean, (value, at) => (at === columns + 5 ? NaN : value)) }, dtype);
      const allNaN = await run({ x: map(clean, (value, at) => (Math.floor(at / columns) === 1 ? NaN : value)) }, dtype);
      values.forEach((value, at) => {
        const isSpoilt = Math.floor(at / columns) === 1;
        expect(value).toBe(isSpoilt ? NaN : wanted[at]);
        expect(allNaN[at]).toBe(isSpoilt ? NaN : wanted[at]);
      });
      const mask = { shape: [columns], data: Uint8Array.from({ length: columns }, (_, at) => (at === 5 ? 0 : 1)) };
      const x = map(clean, (value, at) => (at % columns === 5 ? -Infinity : value));
      expect(await run({ x }, dtype)).toEqual(await run({ x: clean, mask }, dtype));
      // not even in a row of NaN does a masked element weigh anything (but SwiftShader's rounding of NaN's neighbour)
      const masked = await run({ x: map(clean, () => NaN), mask }, dtype);
      masked.forEach((value, at) => {
        if (at % columns !== 5) expect(value).toBeNaN();
        else expect(value).toBeLessThanOrEqual(dtype === 'float32' ? 0 : 2 ** -23);
      });
    }
  });
});

describe('softmax', () => {
  test('of float16 rows of whole vectors, and of others, planned for a GPU', async () => {
    const restore = changeTraits(device, { isSoftware: false });
    try {
      for (const columns of [264, 300, 301, 1000, 5000]) {
        await expectSoftmax({ x: normals(2, 3, columns), scale: -2.5 }, 'float16');
        await expectSoftmax({ x: normals(2, 3, columns), isCausal: 'bottom-right' }, 'float16');
        await expectSoftmax({ x: normals(2, 3, columns), mask: boolMask(random, [columns]) }, 'float16');
      }
      await expectSoftmax({ x: normals(3, 272), layouts: { x: { before: [0, 8], after: [1, 0] } } }, 'float16');
      const x = map(normals(3, 304), (value, at) => (at === 310 ? -Infinity : value));
      const values = await expectSoftmax({ x }, 'float16');
      const spoilt = await run({ x: map(x, (value, at) => (at === 5 ? NaN : value)) }, 'float16');
      expect(spoilt).toEqual(values.map((value, at) => (at < 304 ? NaN : value)));
    } finally {
      restore();
    }
  });

  test('of more workgroups than one dimension holds', async () => {
    await withWorkgroupLimit(device, 3, async () => {
      await expectSoftmax({ x: normals(137, 5) }, 'float32');
      await expectSoftmax({ x: normals(107, 300) }, 'float32');
    });
  });

  test('compiles nothing new for another shape or mask', async () => {
    await expectSoftmax({ x: normals(2, 3) }, 'float32');
    const { pipelines } = device.runtime.counters();
    await expectSoftmax({ x: normals(2, 9, 200), mask: boolMask(random, [200]), isCausal: true }, 'float32');
    expect(device.runtime.counters().pipelines).toBe(pipelines);
  });
});
