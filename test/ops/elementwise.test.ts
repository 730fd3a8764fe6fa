import { f16round } from '@petamoriken/float16';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { add, clone, type Device, gelu, multiply, relu, silu, swiglu, tanh, type Tensor } from '../../src/index.ts';
import { ELEMENTWISE } from '../../src/kernels/elementwise.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { arithmetic, elementwise, functions } from '../reference/elementwise.ts';
import { numericalGradients } from '../reference/finite-differences.ts';
import type { HostArray } from '../reference/host-array.ts';
import { tolerances } from '../reference/tolerances.ts';
import { expectGradients, type GradientProblem } from './gradient-run.ts';
import { changeTraits } from './traits.ts';
import { type Float, type Layout, stored, upload } from './upload.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

interface Row {
  /** A function of x alone ignores y. */
  readonly op: (x: Tensor, y: Tensor) => Tensor;
  /** Each result is the reference's, rounded once. */
  readonly isExact?: boolean;
  /** The derivative of a function of x alone far to the left, far to the right, and where x is NaN. */
  readonly slopes?: readonly [left: number, right: number, ofNaN: number];
}

/** A new op needs a row here, or in `arithmetic.test.ts`. */
const OPS: Readonly<Record<keyof typeof functions, Row>> = {
  gelu: { op: (x) => gelu(x), slopes: [0, 1, NaN] },
  geluTanh: { op: (x) => gelu(x, { approximate: 'tanh' }), slopes: [0, 1, NaN] },
  silu: { op: silu, slopes: [0, 1, NaN] },
  relu: { op: relu, slopes: [0, 1, 1] }, // as PyTorch's
  tanh: { op: tanh, slopes: [0, 0, NaN] },
  add: { op: add, isExact: true },
  multiply: { op: multiply, isExact: true },
  swiglu: { op: swiglu },
};

const NAMES = Object.keys(OPS) as (keyof typeof functions)[];
const UNARY = NAMES.filter((name) => functions[name].length === 1);
const BINARY = NAMES.filter((name) => functions[name].length === 2);

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(41);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

test('every elementwise op has a reference and a row', () => {
  expect([...NAMES, ...Object.keys(arithmetic)].toSorted()).toEqual(Object.keys(ELEMENTWISE).toSorted());
});

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
  const round = dtype === 'float32' ? Math.fround : (value: number) => f16round(Math.fround(value));
  const largest = dtype === 'float32' ? 3.4e38 : 65504;
  const limits: HostArray = {
    shape: [8],
    data: Float32Array.of(Infinity, -Infinity, largest, -largest, 1e4, -1e4, 0, -0),
  };

  /** The values of an op are its reference's. */
  async function expectValues(
    name: keyof typeof functions,
    inputs: readonly HostArray[],
    layouts: readonly (Layout | undefined)[] = [],
  ): Promise<void> {
    const { op, isExact } = OPS[name];
    const [x, y] = inputs.map((input) => stored(input, dtype));
    const wanted = elementwise(functions[name], x, y);
    const values = await read(
      () => {
        const [a, b] = inputs.map((input, i) => upload(device, input, dtype, layouts[i]));
        return op(a, b);
      },
      wanted.shape,
      dtype,
    );
    const rounded = Float32Array.from(wanted.data, round);
    if (isExact) expect(values).toEqual(rounded);
    // the infinities that rounding gives, and else what was not rounded
    const expected = wanted.data.map((value, i) => (Number.isFinite(rounded[i]) ? value : rounded[i]));
    expectClose(values, expected, tolerances[dtype].activation, name);
  }

  /** The gradients of an op are those of its reference by finite differences. */
  const expectSlopes = (name: keyof typeof functions, inputs: readonly HostArray[], given?: Partial<GradientProblem>) =>
    expectGradients({
      dtype,
      inputs,
      op: ([x, y]) => OPS[name].op(x, y),
      reference: ([x, y]) => elementwise(functions[name], x, y),
      ...given,
    });

  describe.each(UNARY)('%s', (name) => {
    test('over its range, tails included', async () => {
      await expectValues(name, [
        { shape: [4001], data: Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) / 150) },
      ]);
    });

    test.each([[[1]], [[7]], [[5, 1]], [[3, 1, 9]], [[2, 3, 33]], [[2, 1, 3, 2, 5, 3]]])('shape %j', async (shape) => {
      await expectValues(name, [normals(...shape)]);
    });

    test('strided views', async () => {
      await expectValues(name, [normals(6, 8)], [{ axes: [1, 0] }]);
      await expectValues(name, [normals(3, 5, 7)], [{ axes: [1, 2, 0], before: [0, 1, 3], after: [2, 0, 1] }]);
    });

    test('very large numbers and infinities have their limits', () => expectValues(name, [limits]));

    test('NaN stays NaN', async () => {
      const values = await read(
        () => {
          const x = device.tensor([NaN, 1], [2], { dtype });
          return OPS[name].op(x, x);
        },
        [2],
        dtype,
      );
      expect([...values].map(Number.isNaN)).toEqual([true, false]);
    });

    test('gradients over its range, tails included', async () => {
      // the nearest to 0, where relu has none, is a step of 1/30 away
      const data = Float32Array.from({ length: 601 }, (_, i) => (i - 300.5) / 15);
      await expectSlopes(name, [{ shape: [601], data }]);
    });

    test.each([[[1]], [[5, 1]], [[3, 2, 9]]])('gradients of shape %j', (shape) =>
      expectSlopes(name, [normals(...shape)]),
    );

    test('gradients of strided views, and from strided and repeated gradients', async () => {
      await expectSlopes(name, [normals(6, 8)], { layouts: [{ axes: [1, 0] }], gradientLayout: { before: [1, 3] } });
      await expectSlopes(name, [normals(3, 5, 7)], {
        layouts: [{ before: [0, 1, 4] }],
        gradientLayout: { axes: [1, 2, 0] },
      });
      await expectSlopes(name, [normals(4, 8)], { repeats: [0, 1] });
      await expectSlopes(name, [normals(4, 8)], { repeats: [1] });
    });

    test('gradients of very large numbers, infinities and NaN', async () => {
      using x = device.tensor([-Infinity, -largest, -1e4, Infinity, largest, 1e4, NaN], [7], { dtype });
      x.requiresGrad = true;
      device.scope(() => OPS[name].op(x, x).backward(device.tensor([2, 2, 2, 2, 2, 2, 1], [7], { dtype })));
      const [left, right, ofNaN] = OPS[name].slopes!;
      const values = (await x.grad!.data()) as Float32Array;
      const [a, b] = [2 * left, 2 * right];
      expect(Array.from(values, (value) => value + 0)).toEqual([a, a, a, b, b, b, ofNaN]); // -0 + 0 is 0
    });
  });

  describe.each(BINARY)('%s', (name) => {
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
      await expectValues(name, [normals(...x), normals(...y)]);
    });

    test('strided views, broadcast too', async () => {
      await expectValues(name, [normals(6, 8), normals(6, 8)], [{ axes: [1, 0] }, undefined]);
      await expectValues(name, [normals(6, 8), normals(6, 1)], [undefined, { before: [1, 2] }]);
      await expectValues(
        name,
        [normals(3, 5, 7), normals(5, 7)],
        [{ axes: [2, 0, 1], before: [0, 1, 3] }, { axes: [1, 0] }],
      );
      await expectValues(name, [normals(4, 8), normals(4, 8)], [{ before: [0, 4], after: [0, 4] }, { before: [1, 1] }]);
    });

    test('very large numbers and infinities have their limits', async () => {
      for (const factor of [0.5, 2]) {
        const other: HostArray = { shape: [1], data: [factor] };
        await expectValues(name, [limits, other]);
        await expectValues(name, [other, limits]);
      }
    });

    test('NaN on either side gives NaN', async () => {
      const values = await read(
        () => OPS[name].op(device.tensor([NaN, 1, 2], [3], { dtype }), device.tensor([1, NaN, 2], [3], { dtype })),
        [3],
        dtype,
      );
      expect([...values].map(Number.isNaN)).toEqual([true, true, false]);
    });

    test.each([
      [[7], [7]],
      [[2, 3, 11], [11]],
      [[5], [4, 5]],
      [
        [4, 1, 8],
        [3, 1],
      ],
      [[1], [2, 5]],
      [
        [2, 1, 3, 1, 2, 1],
        [1, 2, 1, 3, 1, 5],
      ],
    ])('gradients of %j with %j', (x, y) => expectSlopes(name, [normals(...x), normals(...y)]));

    test('gradients of strided views, and from strided and repeated gradients', async () => {
      await expectSlopes(name, [normals(6, 8), normals(6, 1)], {
        layouts: [{ axes: [1, 0] }, { before: [1, 2] }],
        gradientLayout: { axes: [1, 0], before: [2, 1] },
      });
      await expectSlopes(name, [normals(3, 5, 7), normals(5, 7)], { repeats: [0, 2] });
    });
  });
});

test.each(['float32', 'float16'] as const)(
  '%s rows of whole vectors, and others, are the same if planned for a GPU',
  async (dtype) => {
    const run = async (inputs: readonly HostArray[], before: number, needsGrad: boolean): Promise<Float32Array[]> => {
      const results = device.scope(() => {
        const [x, y, d] = inputs.map((input, i) => upload(device, input, dtype, i === 1 ? { before: [before] } : {}));
        if (!needsGrad) return [gelu(x), swiglu(x, y)];
        x.requiresGrad = y.requiresGrad = true;
        swiglu(x, y).backward(d);
        return [clone(x.grad!), clone(y.grad!)];
      });
      const values = await Promise.all(results.map((result) => result.data()));
      for (const result of results) result.dispose();
      return values as Float32Array[];
    };
    for (const columns of [16, 12, 13]) {
      for (const [yShape, before] of [
        [[3, columns], 0],
        [[columns], 8],
        [[columns], 3],
      ] as const) {
        const inputs = [normals(3, columns), normals(...yShape), normals(3, columns)];
        for (const needsGrad of [false, yShape.length > 1]) {
          const here = await run(inputs, before, needsGrad);
          const restore = changeTraits(device, { isSoftware: false });
          try {
            expect(await run(inputs, before, needsGrad)).toEqual(here);
          } finally {
            restore();
          }
        }
      }
    }
  },
);

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

describe('gradients of elementwise ops', () => {
  test('where x and y are one tensor', async () => {
    const data = random.normals([9]);
    for (const name of BINARY) {
      const { op } = OPS[name];
      using x = device.tensor(data, [9], { requiresGrad: true });
      const ones = { shape: [9], data: new Float32Array(9).fill(1) };
      device.scope(() => op(x, x).backward(device.tensor(ones.data, [9])));
      const [expected] = numericalGradients((a) => elementwise(functions[name], a, a), [{ shape: [9], data }], ones);
      expectClose(await x.grad!.data(), expected.data, tolerances.float32.opGradient, name);
    }
  });

  test('of more workgroups than one dimension holds', async () => {
    const [x, y] = [normals(70, 70), normals(70)];
    using gate = device.tensor(x.data as Float32Array, [70, 70], { requiresGrad: true });
    using up = device.tensor(y.data as Float32Array, [70], { requiresGrad: true });
    const ones = new Float32Array(4900).fill(1);
    await withWorkgroupLimit(device, 3, async () => {
      device.scope(() => swiglu(gate, up).backward(device.tensor(ones, [70, 70])));
      await device.sync();
    });
    const slope = (value: number) => {
      const s = 1 / (1 + Math.exp(-value));
      return s * (1 + value * (1 - s));
    };
    const expected = elementwise((a, b) => slope(a) * b, x, y);
    expectClose(await gate.grad!.data(), expected.data, tolerances.float32.opGradient, 'gate');
    const silus = Float64Array.from({ length: 70 }, (_, column) =>
      Array.from({ length: 70 }, (__, row) => functions.silu(x.data[row * 70 + column])).reduce((a, b) => a + b),
    );
    expectClose(await up.grad!.data(), silus, tolerances.float32.opGradient, 'up');
  });

  test('save only what a wanted gradient reads', () => {
    using x = device.zeros([256, 256], { requiresGrad: true });
    const saved = (op: typeof swiglu, y: Tensor): number => {
      const { live } = device.memory();
      return device.scope(() => {
        const copy = multiply(y, y); // nobody else holds its storage
        const output = op(x, copy);
        copy.dispose();
        return Math.round((device.memory().live - live - 4 * output.size) / (4 * x.size));
      });
    };
    using y = device.zeros([256, 256]);
    expect(saved(add, y)).toBe(0);
    expect(saved(multiply, y)).toBe(1);
    // a factor that requires a gradient is not read for its own
    const multiplySum: typeof swiglu = (a, b) => {
      const total = add(a, b);
      const output = multiply(total, b);
      total.dispose();
      return output;
    };
    expect(saved(multiplySum, y)).toBe(1);
    expect(saved(swiglu, y)).toBe(1);
    expect(saved((a, b) => swiglu(b, a), y)).toBe(1);
  });
});
