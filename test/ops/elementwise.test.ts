import { f16round } from '@petamoriken/float16';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { add, type Device, gelu, multiply, relu, silu, swiglu, type Tensor } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { elementwise, functions } from '../reference/elementwise.ts';
import type { HostArray } from '../reference/host-array.ts';
import { tolerances } from '../reference/tolerances.ts';
import { type Float, type Layout, stored, upload } from './upload.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(41);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

const UNARY: Readonly<Record<string, [(x: Tensor) => Tensor, (x: number) => number]>> = {
  gelu: [(x) => gelu(x), functions.gelu],
  'gelu tanh': [(x) => gelu(x, { approximate: 'tanh' }), functions.geluTanh],
  silu: [silu, functions.silu],
  relu: [relu, functions.relu],
};
const BINARY = {
  add: [add, functions.add],
  multiply: [multiply, functions.multiply],
  swiglu: [swiglu, functions.swiglu],
} as const;

async function read(call: () => Tensor, shape: readonly number[], dtype: Float): Promise<Float32Array> {
  const result = device.scope(call);
  expect(result.shape).toEqual(shape);
  expect(result.dtype).toBe(dtype);
  expect(result.isContiguous).toBe(true);
  const values = (await result.data()) as Float32Array;
  result.dispose();
  return values;
}

describe.each(['float32', 'float16'] as const)('in %s', (dtype) => {
  const run = ([op]: (typeof UNARY)[string], x: HostArray, layout?: Layout) =>
    read(() => op(upload(device, x, dtype, layout)), x.shape, dtype);

  describe.each(Object.entries(UNARY))('%s', (name, both) => {
    async function expectActivation(x: HostArray, layout?: Layout): Promise<void> {
      const wanted = elementwise(both[1], stored(x, dtype));
      expectClose(await run(both, x, layout), wanted.data, tolerances[dtype].activation, name);
    }

    test('over its range, tails included', async () => {
      const data = Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) / 150);
      await expectActivation({ shape: [4001], data });
    });

    test.each([[[1]], [[7]], [[5, 1]], [[3, 1, 9]], [[2, 3, 33]], [[2, 1, 3, 2, 5, 3]]])('shape %j', async (shape) => {
      await expectActivation(normals(...shape));
    });

    test('strided views', async () => {
      await expectActivation(normals(6, 8), { axes: [1, 0] });
      await expectActivation(normals(3, 5, 7), { axes: [1, 2, 0], before: [0, 1, 3], after: [2, 0, 1] });
    });

    test('NaN stays NaN, and very large numbers and infinities have their limits', async () => {
      const largest = dtype === 'float32' ? 3.4e38 : 65504;
      const data = Float32Array.of(NaN, Infinity, -Infinity, largest, -largest, 1e4, -1e4, -0);
      const values = await run(both, { shape: [8], data });
      expect(values[0]).toBeNaN();
      expect(values[1]).toBe(Infinity);
      expect(Math.abs(values[2])).toBe(0);
      expectClose(
        [values[3]],
        [stored({ shape: [1], data: [largest] }, dtype).data[0]],
        tolerances[dtype].activation,
        '',
      );
      expect(Math.abs(values[4])).toBe(0);
      expect(values[5]).toBe(1e4);
      expect(Math.abs(values[6])).toBe(0);
      expect(Math.abs(values[7])).toBe(0);
    });
  });

  describe.each(Object.entries(BINARY))('%s', (name, [op, apply]) => {
    async function expectBinary(x: HostArray, y: HostArray, layouts: (Layout | undefined)[] = []): Promise<void> {
      const wanted = elementwise(apply, stored(x, dtype), stored(y, dtype));
      const values = await read(
        () => op(upload(device, x, dtype, layouts[0]), upload(device, y, dtype, layouts[1])),
        wanted.shape,
        dtype,
      );
      if (name === 'swiglu') {
        expectClose(values, wanted.data, tolerances[dtype].activation, name);
      } else {
        // one rounding, and one more on storing
        const round = dtype === 'float32' ? Math.fround : (value: number) => f16round(Math.fround(value));
        expect(values).toEqual(Float32Array.from(wanted.data, round));
      }
    }

    test.each([
      [[7], [7]],
      [
        [5, 1],
        [5, 1],
      ],
      [[2, 3, 33], [33]],
      [[33], [2, 3, 33]],
      [
        [4, 1, 8],
        [3, 1],
      ],
      [[1], [2, 5]],
      [
        [2, 3, 8],
        [2, 1, 8],
      ],
      [
        [2, 1, 3, 1, 2, 1],
        [1, 2, 1, 3, 1, 5],
      ],
    ])('%j with %j', async (x, y) => {
      await expectBinary(normals(...x), normals(...y));
    });

    test('strided views, broadcast too', async () => {
      await expectBinary(normals(6, 8), normals(6, 8), [{ axes: [1, 0] }, undefined]);
      await expectBinary(normals(6, 8), normals(6, 1), [undefined, { before: [1, 2] }]);
      await expectBinary(normals(3, 5, 7), normals(5, 7), [{ axes: [2, 0, 1], before: [0, 1, 3] }, { axes: [1, 0] }]);
      await expectBinary(normals(4, 8), normals(4, 8), [{ before: [0, 4], after: [0, 4] }, { before: [1, 1] }]);
    });

    test('NaN on either side gives NaN', async () => {
      const values = await read(
        () => op(device.tensor([NaN, 1, 2], [3], { dtype }), device.tensor([1, NaN, 2], [3], { dtype })),
        [3],
        dtype,
      );
      expect([...values].map(Number.isNaN)).toEqual([true, true, false]);
    });
  });
});

describe('elementwise ops', () => {
  test('x and y may be one tensor', async () => {
    const x = normals(9);
    const values = await read(
      () => {
        const tensor = upload(device, x, 'float32');
        return multiply(tensor, tensor);
      },
      [9],
      'float32',
    );
    expect(values).toEqual(Float32Array.from(x.data, (value) => value * value));
  });

  test('of more workgroups than one dimension holds', async () => {
    await withWorkgroupLimit(device, 3, async () => {
      const [x, y] = [normals(70, 70), normals(70)];
      const values = await read(
        () => add(upload(device, x, 'float32'), upload(device, y, 'float32')),
        [70, 70],
        'float32',
      );
      expect(values).toEqual(Float32Array.from(elementwise(functions.add, x, y).data));
    });
  });

  test('compile nothing new for another shape', async () => {
    await read(() => add(device.zeros([3]), device.zeros([3])), [3], 'float32');
    const { pipelines } = device.runtime.counters();
    await read(() => add(device.zeros([2, 1, 9]).transpose(), device.zeros([2, 1, 5])), [2, 9, 5], 'float32');
    expect(device.runtime.counters().pipelines).toBe(pipelines);
  });

  test.each<[string, (device: Device) => unknown, string]>([
    [
      'shapes that do not fit',
      (d) => add(d.zeros([2, 3]), d.zeros([2])),
      `add: y must broadcast with x's shape [2, 3], got [2]`,
    ],
    [
      'mixed dtypes',
      (d) => swiglu(d.zeros([2]), d.zeros([2], { dtype: 'float16' })),
      `swiglu: up must have gate's dtype float32, got float16`,
    ],
    ['integers', (d) => silu(d.zeros([2], { dtype: 'int32' })), 'silu: x must be float32 or float16, got int32'],
    [
      'another approximation',
      (d) => gelu(d.zeros([2]), { approximate: 'erf' as 'none' }),
      `gelu: approximate must be 'none' or 'tanh', got 'erf'`,
    ],
    [
      'an unknown option',
      (d) => gelu(d.zeros([2]), { aproximate: 'tanh' } as object),
      `gelu: unknown option 'aproximate'; did you mean 'approximate'?`,
    ],
  ])('refuse %s', (_name, call, message) => {
    expect(() => device.scope(() => void call(device))).toThrow(message);
  });
});
