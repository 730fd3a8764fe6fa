import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, mean, sum, type SumOptions } from '../../src/index.ts';
import { accumulate } from '../../src/ops/internal/copy.ts';
import { sumOver, sumTo } from '../../src/ops/sum.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { broadcast, type HostArray } from '../reference/host-array.ts';
import { mean as meanReference, sum as sumReference } from '../reference/sum.ts';
import { tolerances } from '../reference/tolerances.ts';
import { expectGradients } from './gradient-run.ts';
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

const random = new Random(47);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });
const OPS = { sum: [sum, sumReference], mean: [mean, meanReference] } as const;

/** Twice, which must give the same bits. */
async function expectReduced(
  name: keyof typeof OPS,
  x: HostArray,
  axes: readonly number[],
  { dtype = 'float32', keepDims = false, layout }: { dtype?: Float; keepDims?: boolean; layout?: Layout } = {},
): Promise<void> {
  const [op, reference] = OPS[name];
  const expected = reference(stored(x, dtype), axes, { keepDims });
  const run = async (): Promise<Float32Array> => {
    const result = device.scope(() => op(upload(device, x, dtype, layout), { axes, keepDims }));
    expect(result.shape).toEqual(expected.shape);
    expect(result.dtype).toBe(dtype);
    expect(result.isContiguous).toBe(true);
    const values = await result.data();
    result.dispose();
    return values;
  };
  const values = await run();
  expectClose(values, expected.data, tolerances[dtype].sum, `${name} of [${x.shape.join()}] over ${axes.join()}`);
  expect(await run()).toEqual(values);
}

/** As on a GPU and as on a CPU driver, which divide and share sums differently. */
const asGpu = (work: () => Promise<void>) => as(false, work);
async function as(isSoftware: boolean, work: () => Promise<void>): Promise<void> {
  const restore = changeTraits(device, { isSoftware });
  try {
    await work();
  } finally {
    restore();
  }
}

describe.each(['float32', 'float16'] as const)('sums in %s', (dtype) => {
  test.each<[number[], number[]]>([
    [[1], [0]],
    [[7], [0]],
    [[1000], [0]],
    [[5, 9], [0]],
    [[5, 9], [1]],
    [
      [5, 9],
      [0, 1],
    ],
    [[5, 9], []],
    [[300, 70], [0]],
    [[70, 300], [1]],
    [
      [3, 1, 5, 4],
      [1, 3],
    ],
    [
      [4, 3, 5],
      [0, 2],
    ],
    [
      [2, 3, 2, 5, 2, 3],
      [1, 3, 5],
    ],
    [
      [2, 3, 2, 5, 2, 3],
      [0, 1, 2, 3, 4, 5],
    ],
  ])('%j over %j', async (shape, axes) => {
    const x = normals(...shape);
    for (const keepDims of [false, true]) await expectReduced('sum', x, axes, { dtype, keepDims });
    await expectReduced('mean', x, axes, { dtype });
    await asGpu(() => expectReduced('sum', x, axes, { dtype }));
  });

  test('of strided views', async () => {
    for (const isSoftware of [true, false]) {
      await as(isSoftware, async () => {
        await expectReduced('sum', normals(60, 80), [0], { dtype, layout: { axes: [1, 0] } });
        await expectReduced('sum', normals(60, 80), [1], { dtype, layout: { axes: [1, 0], before: [1, 1] } });
        await expectReduced('mean', normals(6, 5, 8), [0, 2], { dtype, layout: { before: [0, 1, 3], after: [1] } });
      });
    }
  });

  test('divided into parts', async () => {
    const [few, one] = [normals(5000, 5), normals(20_001)];
    for (const isSoftware of [true, false]) {
      await as(isSoftware, async () => {
        await expectReduced('sum', few, [0], { dtype });
        await expectReduced('mean', one, [0], { dtype });
      });
    }
  });

  test('are float32 until they are stored', async () => {
    // in float16, 2048 + 1 is 2048
    const data = new Float32Array(4096).fill(1);
    await expectReduced('sum', { shape: [4096], data }, [0], { dtype });
    const large = new Float32Array(1024).fill(512);
    await expectReduced('mean', { shape: [1024], data: large }, [0], { dtype });
  });

  test('undo broadcasting', async () => {
    for (const [from, to] of [
      [[3], [2, 4, 3]],
      [
        [4, 1],
        [2, 4, 3],
      ],
      [[1], [5, 3]],
      [
        [2, 3],
        [2, 3],
      ],
    ]) {
      const x = normals(...to);
      const result = device.scope(() => sumTo(upload(device, x, dtype), from));
      const lead = to.length - from.length;
      const axes = to.flatMap((length, axis) => (axis < lead || from[axis - lead] !== length ? [axis] : []));
      expect(result.shape).toEqual(from);
      const expected = sumReference(stored(x, dtype), axes);
      expectClose(await result.data(), expected.data, tolerances[dtype].sum, `${to} to ${from}`);
      result.dispose();
    }
  });

  test.each<[number[], SumOptions]>([
    [[7], {}],
    [[5, 9], { axes: 0 }],
    [[5, 9], { axes: [-1], keepDims: true }],
    [[3, 2, 5], { axes: [0, 2] }],
  ])('have gradients: %j, %j', async (shape, options) => {
    const { axes = shape.map((_, axis) => axis), keepDims } = options;
    const places = (typeof axes === 'number' ? [axes] : axes).map((axis) => (axis + shape.length) % shape.length);
    for (const name of ['sum', 'mean'] as const) {
      const [op, reference] = OPS[name];
      await expectGradients({
        dtype,
        inputs: [normals(...shape)],
        op: ([x]) => op(x, options),
        reference: ([x]) => reference(x, places, { keepDims: keepDims ?? false }),
        gradientLayout: { before: [1] },
      });
    }
  });

  test('NaN and infinities stay in their sums', async () => {
    const x = device.tensor([1, NaN, 2, Infinity, 3, 4, Infinity, 5, -Infinity], [3, 3], { dtype });
    const result = sum(x, { axes: 0 });
    expect([...(await result.data())]).toEqual([Infinity, NaN, -Infinity]);
    x.dispose();
    result.dispose();
  });

  test('are added in place', async () => {
    for (const [shape, axis, start, length, layout] of [
      [[7], 0, 0, 7, {}],
      [[6, 5], 1, 1, 3, {}],
      [[6, 5], 1, 3, 1, {}],
      [[6, 5], 0, 2, 3, { axes: [1, 0] }],
      [[2, 3, 2, 5], 1, 1, 2, { before: [0, 0, 1, 2] }],
    ] as [number[], number, number, number, Layout][]) {
      const target = normals(...shape);
      const part = shape.with(axis, length);
      const x = normals(...part);
      const result = device.scope(() => {
        const whole = upload(device, target, dtype);
        accumulate(whole.slice(axis, start, start + length), upload(device, x, dtype, layout));
        expect(whole.version).toBe(1);
        return whole;
      });
      const expected = Float64Array.from(stored(target, dtype).data);
      const added = stored(x, dtype).data;
      const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
      for (let at = 0; at < added.length; at++) {
        const outer = Math.floor(at / (length * inner));
        expected[(outer * shape[axis] + start) * inner + (at % (length * inner))] += added[at];
      }
      expectClose(
        await result.data(),
        expected,
        tolerances[dtype].sum,
        `[${shape.join()}] at ${start} of axis ${axis}`,
      );
      result.dispose();
    }
  });
});

describe('sum', () => {
  test('of float16 in float32, and of float32 in float16', async () => {
    const x = normals(40, 7);
    for (const [from, to] of [
      ['float16', 'float32'],
      ['float32', 'float16'],
    ] as const) {
      const result = device.scope(() =>
        sumOver('test', upload(device, x, from), new Set([0]), { dtype: to, scale: 2 }),
      );
      expect(result.dtype).toBe(to);
      const expected = sumReference(stored(x, from), [0]).data.map((value) => 2 * value);
      expectClose(await result.data(), expected, tolerances[to].sum, `${from} to ${to}`);
      result.dispose();
    }
  });

  test('of a repeated tensor', async () => {
    const x = normals(1, 6);
    const result = device.scope(() => sum(upload(device, x, 'float32').expand([500, 6]), { axes: 0 }));
    const expected = sumReference(broadcast(x, [500, 6]), [0]);
    expectClose(await result.data(), expected.data, tolerances.float32.sum, 'repeated');
    result.dispose();
  });

  test('of more workgroups than one dimension holds', async () => {
    await withWorkgroupLimit(device, 3, async () => {
      await expectReduced('sum', normals(3, 6000), [0]);
      await asGpu(() => expectReduced('sum', normals(6000, 3), [1]));
    });
  });

  test('compiles nothing new for another shape', async () => {
    await expectReduced('sum', normals(40), [0]);
    const { pipelines } = device.runtime.counters();
    await expectReduced('mean', normals(3, 500, 7), [0, 2], { keepDims: true });
    await asGpu(() => expectReduced('sum', normals(3000, 7), [0]));
    expect(device.runtime.counters().pipelines).toBe(pipelines);
  });

  test.each<[string, (device: Device) => unknown, string]>([
    ['integers', (d) => sum(d.zeros([2], { dtype: 'int32' })), 'sum: x must be float32 or float16, got int32'],
    [
      'an axis that there is not',
      (d) => mean(d.zeros([2, 3]), { axes: 2 }),
      'mean: axes must be distinct axes of x [2, 3], got 2',
    ],
    [
      'an axis twice',
      (d) => sum(d.zeros([2, 3]), { axes: [1, -1] }),
      'sum: axes must be distinct axes of x [2, 3], got [1, -1]',
    ],
    [
      'axes that are no numbers',
      (d) => sum(d.zeros([2]), { axes: null as never }),
      'sum: axes must be distinct axes of x [2], got null',
    ],
    [
      'keepDims that is no boolean',
      (d) => sum(d.zeros([2]), { keepDims: 1 as unknown as boolean }),
      'sum: keepDims must be true or false, got 1',
    ],
    ['unknown options', (d) => sum(d.zeros([2]), { axis: 0 } as object), `sum: unknown option 'axis'`],
  ])('refuses %s', (_name, call, message) => {
    expect(() => device.scope(() => void call(device))).toThrow(message);
  });
});

test('views that repeat one number more than 2³² times', async () => {
  const x = device.tensor([3, 5], [2, 1]);
  const wide = x.expand([2, 2 ** 33]);
  using sums = sum(wide, { axes: 1 });
  expect([...(await sums.data())]).toEqual([3 * 2 ** 33, 5 * 2 ** 33]);
  using whole = device.scope(() => sum(wide.expand([2 ** 20, 2, 2 ** 33])));
  expect([...(await whole.data())]).toEqual([2 ** 56]);
  using average = mean(wide);
  expect([...(await average.data())]).toEqual([4]);
  wide.dispose();
  x.dispose();
});
