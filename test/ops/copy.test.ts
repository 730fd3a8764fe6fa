import { f16round } from '@petamoriken/float16';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  cast,
  concat,
  contiguous,
  type Device,
  type DType,
  reshape,
  type Tensor,
  type TensorSource,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const DTYPES = ['float32', 'float16', 'bool', 'int32', 'uint32'] as const;

/** 0, 1, 2, … (bool: of period 5), so that every element says where it comes from; exact in float16 up to 2048. */
function counted(shape: number[], dtype: DType, first = 0): Tensor {
  const size = shape.reduce((product, length) => product * length, 1);
  const values = Array.from({ length: size }, (_, at) =>
    dtype === 'bool' ? Number((first + at) % 5 < 2) : first + at,
  );
  const types = {
    float32: Float32Array,
    float16: Float32Array,
    bool: Uint8Array,
    int32: Int32Array,
    uint32: Uint32Array,
  };
  return device.tensor(new types[dtype](values) as TensorSource, shape, { dtype });
}

/** What `make` returns, on the host; frees everything else. */
async function dataOf(make: () => Tensor) {
  const tensor = device.scope(make);
  const values = await tensor.data();
  const { shape, isContiguous } = tensor;
  tensor.dispose();
  return { values, shape, isContiguous };
}

/** A copy has the elements that reading the view gives, in that order. */
async function expectCopy(view: () => Tensor, copy: (x: Tensor) => Tensor, shape?: number[]): Promise<void> {
  const [wanted, copied] = await Promise.all([dataOf(view), dataOf(() => copy(view()))]);
  expect(copied.values).toEqual(wanted.values);
  expect(copied.shape).toEqual(shape ?? wanted.shape);
  expect(copied.isContiguous).toBe(true);
}

const VIEWS: Readonly<Record<string, [shape: number[], view: (x: Tensor) => Tensor]>> = {
  'a transposed matrix': [[5, 7], (x) => x.transpose()],
  'a slice of columns': [[5, 9], (x) => x.slice(1, 1, 8)],
  'a slice of odd rows': [[7, 5], (x) => x.slice(0, 3, 6)],
  'one column': [[7, 5], (x) => x.slice(1, 3, 4)],
  'heads out of rows': [[2, 9, 24], (x) => x.reshape([2, 9, 3, 8]).transpose(1, 2)],
  'six axes, permuted': [[2, 3, 2, 1, 4, 3], (x) => x.transpose(0, 4).transpose(1, 5).transpose(2, 3)],
  'six axes, permuted and sliced': [
    [3, 3, 2, 2, 4, 5],
    (x) => x.slice(0, 1).slice(5, 1, 4).slice(4, 1, 3).transpose(0, 5).transpose(2, 4),
  ],
  'a vector': [[300], (x) => x.slice(0, 7, 290)],
};

describe('contiguous', () => {
  describe.each(DTYPES)('%s', (dtype) => {
    test.each(Object.entries(VIEWS))('of %s', async (_name, [shape, view]) => {
      await expectCopy(() => view(counted(shape, dtype)), contiguous);
    });
  });

  test('copies nothing that is contiguous already', () => {
    device.scope(() => {
      const x = counted([3, 5], 'float16');
      const before = device.memory().live;
      const same = contiguous(x);
      expect(same).not.toBe(x);
      expect(same.buffer).toBe(x.buffer);
      expect(device.memory().live).toBe(before);
      x.dispose();
      expect(same.disposed).toBe(false);
    });
  });

  test('of more workgroups than one dimension holds', async () => {
    await withWorkgroupLimit(device, 3, async () => {
      await expectCopy(() => counted([40, 51], 'float32').transpose(), contiguous);
      await expectCopy(() => counted([61, 91], 'bool').transpose(), contiguous);
    });
  });
});

describe('reshape', () => {
  test.each(DTYPES)('%s: a view where there is one, else a copy', async (dtype) => {
    const transposed = () => counted([6, 10], dtype).transpose();
    await expectCopy(transposed, (x) => reshape(x, [60]), [60]);
    await expectCopy(transposed, (x) => reshape(x, [4, 3, 5]), [4, 3, 5]);
    await expectCopy(transposed, (x) => reshape(x, [20, 1, 3]), [20, 1, 3]);
    device.scope(() => {
      const x = counted([6, 10], dtype);
      expect(reshape(x, [2, 3, 10]).buffer).toBe(x.buffer);
      expect(reshape(x, [3, 20]).buffer).toBe(x.buffer);
    });
  });

  test('float16 rows of odd length are padded on either side', async () => {
    for (const [from, to] of [
      [[4, 5], [20]],
      [
        [4, 5],
        [2, 10],
      ],
      [
        [2, 3, 7],
        [6, 7],
      ],
      [
        [6, 7],
        [14, 3],
      ],
      [
        [2, 9],
        [6, 3],
      ],
      [[3, 5], [15]],
      [
        [3, 5],
        [5, 3],
      ],
      [
        [1, 5],
        [5, 1],
      ],
    ]) {
      const [wanted, got] = await Promise.all([
        dataOf(() => counted(from, 'float16')),
        dataOf(() => reshape(counted(from, 'float16'), to)),
      ]);
      expect(got.values).toEqual(wanted.values);
      expect(got.shape).toEqual(to);
    }
  });

  test('takes one length to be found', async () => {
    const { shape } = await dataOf(() => reshape(counted([4, 6], 'float32').transpose(), [-1, 8]));
    expect(shape).toEqual([3, 8]);
  });

  test('of another size is refused', () => {
    device.scope(() => {
      expect(() => reshape(counted([4, 6], 'float32').transpose(), [5, 5])).toThrow(/^reshape: /);
    });
  });
});

describe('cast', () => {
  const values = [0, -0, 1, -1.5, 65504, -65504, 65519, 2 ** -24, 2 ** -25, 1.5 * 2 ** -25, 3e-6, 6.1e-5, 1e-30, NaN];
  // ties go to even
  for (let i = 0; i < 8; i++) values.push(1 + i * 2 ** -11, -(2048 + i / 2), (i + 0.5) * 2 ** -24);
  const random = new Random(3);
  for (let i = 0; i < 200; i++) values.push(random.normal(10 ** random.integer(-7, 4)));

  test('to float16 rounds to nearest even', async () => {
    const float32 = () => device.tensor(values, [values.length]);
    const { values: rounded } = await dataOf(() => cast(float32(), 'float16'));
    expect(rounded).toEqual(Float32Array.from(values, f16round));
    const { values: widened } = await dataOf(() => cast(cast(float32(), 'float16'), 'float32'));
    expect(widened).toEqual(rounded);
  });

  test('to float32 keeps every float16, infinities too', async () => {
    const all = [...values, Infinity, -Infinity];
    const { values: widened } = await dataOf(() =>
      cast(device.tensor(all, [all.length], { dtype: 'float16' }), 'float32'),
    );
    expect(widened).toEqual(Float32Array.from(all, f16round));
  });

  test('of views, with rows of odd length', async () => {
    for (const [shape, view] of Object.values(VIEWS)) {
      for (const [from, to] of [
        ['float32', 'float16'],
        ['float16', 'float32'],
      ] as const) {
        await expectCopy(
          () => view(counted(shape, from)),
          (x) => cast(x, to),
        );
      }
    }
  });

  test('to its own dtype copies nothing', () => {
    device.scope(() => {
      const x = counted([3, 5], 'float16').transpose();
      const same = cast(x, 'float16');
      expect(same.buffer).toBe(x.buffer);
      expect(same.strides).toEqual(x.strides);
    });
  });
});

describe('concat', () => {
  /** The rows of x and y along the axis, by slicing what was joined. */
  async function expectJoined(x: () => Tensor, y: () => Tensor, axis: number): Promise<void> {
    const [left, right, start, end] = await Promise.all([
      dataOf(x),
      dataOf(y),
      dataOf(() =>
        concat(x(), y(), axis).slice(
          axis,
          0,
          device.scope(() => x().shape.at(axis)!),
        ),
      ),
      dataOf(() =>
        concat(x(), y(), axis).slice(
          axis,
          device.scope(() => x().shape.at(axis)!),
        ),
      ),
    ]);
    expect(start.values).toEqual(left.values);
    expect(end.values).toEqual(right.values);
  }

  describe.each(DTYPES)('%s', (dtype) => {
    test.each([
      [[4], [7], 0],
      [[3, 5], [2, 5], 0],
      [[3, 5], [3, 2], 1],
      [[3, 5], [3, 4], -1],
      [[2, 3, 5], [2, 1, 5], 1],
      [[2, 1, 3, 5], [2, 1, 3, 1], -1],
      [[2, 3, 2, 2, 1, 3], [2, 3, 2, 5, 1, 3], 3],
      [[2, 3, 2, 2, 1, 3], [4, 3, 2, 2, 1, 3], 0],
      [[2, 3, 2, 2, 1, 3], [2, 4, 2, 2, 1, 3], 1],
    ])('%j and %j along %i', async (left, right, axis) => {
      await expectJoined(
        () => counted(left, dtype),
        () => counted(right, dtype, 1000),
        axis,
      );
    });
  });

  test('of views', async () => {
    await expectJoined(
      () => counted([5, 4], 'float16').transpose(),
      () => counted([4, 7], 'float16', 500).slice(1, 1, 4),
      1,
    );
    await expectJoined(
      () => counted([4, 3, 2], 'bool').transpose(0, 1).slice(0, 1),
      () => counted([2, 6, 3], 'bool', 1).slice(2, 1),
      1,
    );
  });

  test('the second repeats along other axes of length 1', async () => {
    const { values, shape } = await dataOf(() =>
      concat(counted([2, 2, 3], 'float32'), counted([1, 1, 3], 'float32', 100), 1),
    );
    expect(shape).toEqual([2, 3, 3]);
    expect(Array.from(values)).toEqual([0, 1, 2, 3, 4, 5, 100, 101, 102, 6, 7, 8, 9, 10, 11, 100, 101, 102]);
  });

  test('of shapes, dtypes or an axis that do not fit is refused', () => {
    device.scope(() => {
      const x = counted([2, 3], 'float32');
      expect(() => concat(x, counted([3, 3], 'float32'), 1)).toThrow(/^concat: y must have x's shape \[2, 3\]/);
      expect(() => concat(x, counted([3], 'float32'), 0)).toThrow(/^concat: y /);
      expect(() => concat(x, counted([2, 3], 'int32'), 0)).toThrow(/^concat: y must have x's dtype float32, got int32/);
      expect(() => concat(x, x, 2)).toThrow(/^concat: axis /);
    });
  });
});
