/** Elementwise arithmetic: values and gradients within each function's domain, and PyTorch's results at its edges. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  abs,
  add,
  bceWithLogits,
  clone,
  type Device,
  divide,
  exp,
  log,
  maximum,
  minimum,
  mseLoss,
  multiply,
  power,
  sigmoid,
  sqrt,
  subtract,
  sum,
  type Tensor,
} from '../../src/index.ts';
import { testDevice, triesEveryKernel } from '../device.ts';
import { describeInMatrix, narrow } from '../matrix/narrow.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { arithmetic, elementwise } from '../reference/elementwise.ts';
import { type HostArray, sizeOf } from '../reference/host-array.ts';
import { tolerances } from '../reference/tolerances.ts';
import { expectGradients } from './gradient-run.ts';
import { type Layout, stored, upload } from './upload.ts';

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

interface Row {
  /** A function of x alone ignores y. */
  readonly op: (x: Tensor, y: Tensor) => Tensor;
  /** Where elements are drawn, uniformly. */
  readonly x: readonly [least: number, most: number];
  readonly y?: readonly [least: number, most: number];
  /** PyTorch's at the edges: x, y, the value, and the gradients of x and y for a gradient of 1. */
  readonly edges: readonly (readonly [x: number, y: number, value: number, ofX: number, ofY: number])[];
}

const OPS: Readonly<Record<keyof typeof arithmetic, Row>> = {
  subtract: {
    op: subtract,
    x: [-3, 3],
    y: [-3, 3],
    edges: [
      [inf, 1, inf, 1, -1],
      [1, nan, nan, 1, -1],
    ],
  },
  divide: {
    op: divide,
    x: [-3, 3],
    y: [0.3, 3],
    edges: [
      [1, 0, inf, inf, -inf],
      [-1, 0, -inf, inf, inf],
      [1, inf, 0, 0, 0],
      [nan, 1, nan, 1, nan],
      [1, nan, nan, nan, nan],
    ],
  },
  power: {
    op: power,
    x: [0.2, 3],
    y: [-3, 3],
    edges: [
      [-2, 3, -8, 12, nan],
      [-2, -2, 0.25, 0.25, nan],
      [-2, 0.5, nan, nan, nan],
      [0, 0, 1, 0, 0],
      [nan, 0, 1, 0, nan],
      [1, nan, 1, nan, 0],
      [0, 2, 0, 0, 0],
      [0, 1, 0, 1, 0],
      [0, -1, inf, -inf, -inf],
      [-1, 65, -1, 65, nan],
      [inf, 0.5, inf, 0, inf],
      [nan, 2, nan, nan, nan],
    ],
  },
  maximum: {
    op: maximum,
    x: [-3, 3],
    y: [-3, 3],
    edges: [
      [2, 2, 2, 0.5, 0.5],
      [3, 2, 3, 1, 0],
      [-inf, 2, 2, 0, 1],
      [nan, 1, nan, 1, 1],
      [1, nan, nan, 1, 1],
    ],
  },
  minimum: {
    op: minimum,
    x: [-3, 3],
    y: [-3, 3],
    edges: [
      [2, 2, 2, 0.5, 0.5],
      [3, 2, 2, 0, 1],
      [-inf, 2, -inf, 1, 0],
      [nan, 1, nan, 1, 1],
      [1, nan, nan, 1, 1],
    ],
  },
  bceWithLogits: {
    op: (x, y) => bceWithLogits(x.expand(y.shape), y, { reduction: 'none' }),
    x: [-4, 4],
    y: [0, 1],
    edges: [
      [1000, 1, 0, 0, -1000],
      [1000, 0, 1000, 1, -1000],
      [-1000, 1, 1000, -1, 1000],
      [nan, 1, nan, nan, nan],
    ],
  },
  exp: {
    op: exp,
    x: [-9, 9],
    edges: [
      [inf, 0, inf, inf, 0],
      [-inf, 0, 0, 0, 0],
      [100, 0, inf, inf, 0],
      [0, 0, 1, 1, 0],
      [nan, 0, nan, nan, 0],
    ],
  },
  log: {
    op: log,
    x: [0.1, 9],
    edges: [
      [0, 0, -inf, inf, 0],
      [1, 0, 0, 1, 0],
      [-4, 0, nan, -0.25, 0],
      [inf, 0, inf, 0, 0],
      [nan, 0, nan, nan, 0],
    ],
  },
  sqrt: {
    op: sqrt,
    x: [0.1, 9],
    edges: [
      [0, 0, 0, inf, 0],
      [4, 0, 2, 0.25, 0],
      [-1, 0, nan, nan, 0],
      [inf, 0, inf, 0, 0],
      [nan, 0, nan, nan, 0],
    ],
  },
  sigmoid: {
    op: sigmoid,
    x: [-9, 9],
    edges: [
      [inf, 0, 1, 0, 0],
      [-inf, 0, 0, 0, 0],
      [0, 0, 0.5, 0.25, 0],
      [nan, 0, nan, nan, 0],
    ],
  },
  abs: {
    op: abs,
    x: [-3, 3],
    edges: [
      [0, 0, 0, 0, 0],
      [-inf, 0, inf, -1, 0],
      [nan, 0, nan, nan, 0],
    ],
  },
};

const NAMES = Object.keys(OPS) as (keyof typeof arithmetic)[];
/** Each op compiles kernels of its own: a slow compiler does so for those that need most care. */
const TRIED = (await triesEveryKernel()) ? NAMES : (['power', 'maximum', 'log', 'sqrt'] as const);

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const RESULTS = ['value', 'gradient of x', 'gradient of y'];

const random = new Random(87);

/** Uniform numbers of an interval. */
function within([least, most]: readonly [number, number], shape: readonly number[]): HostArray {
  const data = Float32Array.from({ length: sizeOf(shape) }, () => random.uniform(least, most));
  return { shape, data };
}

async function read(work: () => Tensor): Promise<Float32Array> {
  using result = device.scope(work);
  return (await result.data()) as Float32Array;
}

describe.each(narrow(['float32'], ['float32', 'float16']) as ('float32' | 'float16')[])('in %s', (dtype) => {
  describe.each(TRIED)('%s', (name) => {
    const row = OPS[name];
    const inputs = (xShape: readonly number[], yShape: readonly number[]) =>
      row.y ? [within(row.x, xShape), within(row.y, yShape)] : [within(row.x, xShape)];

    async function expectValues(arrays: readonly HostArray[], layouts: readonly Layout[] = []): Promise<void> {
      const [x, y] = arrays.map((array) => stored(array, dtype));
      const expected = elementwise(arithmetic[name], x, y);
      const values = await read(() => {
        const [a, b] = arrays.map((array, i) => upload(device, array, dtype, layouts[i]));
        const result = row.op(a, b);
        expect([result.shape, result.dtype, result.isContiguous]).toEqual([expected.shape, dtype, true]);
        return result;
      });
      expectClose(values, expected.data, tolerances[dtype].arithmetic, name);
    }

    const expectSlopes = (arrays: readonly HostArray[], layouts?: readonly Layout[]) =>
      expectGradients({
        dtype,
        inputs: arrays,
        layouts,
        op: ([x, y]) => row.op(x, y),
        reference: ([x, y]) => elementwise(arithmetic[name], x, y),
      });

    test('values, broadcast and strided', async () => {
      await expectValues(inputs([7, 33], [7, 33]), [{ axes: [1, 0] }, { before: [1, 2] }]);
      await expectValues(inputs(row.y ? [9] : [2, 3, 9], [2, 3, 9]));
    });

    test('gradients, reduced over what was broadcast', async () => {
      await expectSlopes(inputs(row.y ? [5] : [3, 5], [3, 5]), [{ before: [1] }]);
    });

    test('edges', async () => {
      const columns = [0, 1, 2, 3, 4].map((column) => row.edges.map((edge) => edge[column]));
      const shape = [row.edges.length];
      const results = device.scope(() => {
        const [x, y] = columns.slice(0, 2).map((data) => device.tensor(data, shape, { dtype, requiresGrad: true }));
        const value = row.op(x, y);
        value.backward(
          device.tensor(
            columns[0].map(() => 1),
            shape,
            { dtype },
          ),
        );
        return [value, x.grad, y.grad].map((tensor) => tensor && clone(tensor));
      });
      for (const [i, result] of results.entries()) {
        if (!result) continue; // y of a function of x alone
        const values = Array.from((await result.data()) as Float32Array, (value) => value + 0); // -0 + 0 is 0
        expect({ [RESULTS[i]]: values }).toEqual({ [RESULTS[i]]: columns[2 + i] });
        result.dispose();
      }
    });
  });
});

describeInMatrix('further shapes and layouts', () => {
  test.each(NAMES)('%s', async (name) => {
    const { op, x, y = [0, 1] } = OPS[name];
    for (const [xShape, yShape] of [
      [[1], [1]],
      [
        [3, 1, 9],
        [3, 4, 9],
      ],
      [
        [2, 1, 3, 1, 2, 1],
        [2, 2, 3, 3, 2, 5],
      ],
    ]) {
      const arrays = OPS[name].y ? [within(x, xShape), within(y, yShape)] : [within(x, xShape)];
      await expectGradients({
        dtype: 'float32',
        inputs: arrays,
        op: ([a, b]) => op(a, b),
        reference: ([a, b]) => elementwise(arithmetic[name], a, b),
      });
    }
  });
});

describe('a number as an operand', () => {
  test('stands on either side, and takes the dtype of the tensor', async () => {
    const data = [0.5, 1, 2];
    const cases: [(x: Tensor) => Tensor, (x: number) => number][] = [
      [(x) => subtract(1, x), (x) => 1 - x],
      [(x) => divide(x, 2), (x) => x / 2],
      [(x) => power(x, 3), (x) => x ** 3],
      [(x) => maximum(x, 1), (x) => Math.max(x, 1)],
      [(x) => add(multiply(2, x), 1), (x) => 2 * x + 1],
    ];
    for (const dtype of narrow(['float32'], ['float32', 'float16']) as ('float32' | 'float16')[]) {
      for (const [op, reference] of cases) {
        const values = await read(() => {
          const result = op(device.tensor(data, [3], { dtype }));
          expect(result.dtype).toBe(dtype);
          return result;
        });
        expect([...values]).toEqual(data.map(reference));
      }
    }
  });

  test('lets the gradient of the tensor through', async () => {
    using x = device.tensor([0.5, 1, 2], [3], { requiresGrad: true });
    device.scope(() => sum(power(subtract(1, x), 2)).backward());
    expect(Array.from(await x.grad!.data(), (value) => value + 0)).toEqual([-1, 0, 2]); // -0 + 0 is 0
  });
});

describe('losses', () => {
  const [x, target] = [within([-2, 2], [3, 5]), within([0, 1], [3, 5])];
  const losses = {
    mseLoss: [mseLoss, (a: number, b: number) => (a - b) ** 2],
    bceWithLogits: [bceWithLogits, arithmetic.bceWithLogits],
  } as const;

  test.each(['mseLoss', 'bceWithLogits'] as const)('%s, reduced, and its gradients', async (name) => {
    const [op, reference] = losses[name];
    for (const reduction of ['mean', 'sum'] as const) {
      await expectGradients({
        dtype: 'float32',
        inputs: [x, target],
        op: ([a, b]) => op(a, b, { reduction }),
        reference: ([a, b]) => {
          const { data } = elementwise(reference, a, b);
          const total = data.reduce((all, value) => all + value, 0);
          return { shape: [1], data: [reduction === 'sum' ? total : total / data.length] };
        },
      });
    }
    const each = elementwise(reference, x, target);
    const values = await read(() =>
      op(upload(device, x, 'float32'), upload(device, target, 'float32'), { reduction: 'none' }),
    );
    expectClose(values, each.data, tolerances.float32.arithmetic, name);
    const mean = await read(() => op(upload(device, x, 'float32'), upload(device, target, 'float32')));
    const expected = each.data.reduce((all, value) => all + value, 0) / 15;
    expectClose(mean, [expected], tolerances.float32.arithmetic, name);
  });
});

test.each<[string, (device: Device) => unknown, string]>([
  ['two numbers', () => add(1, 2), 'add: x or y must be a Tensor, got two numbers'],
  ['no number', (d) => divide(d.zeros([2]), '2' as never), `divide: y must be a Tensor or a number, got '2'`],
  [
    'shapes that do not fit',
    (d) => power(d.zeros([2, 3]), d.zeros([2])),
    `power: y must broadcast with x's shape [2, 3], got [2]`,
  ],
  ['integers', (d) => sqrt(d.zeros([2], { dtype: 'int32' })), 'sqrt: x must be float32 or float16, got int32'],
  [
    'a target of another shape',
    (d) => mseLoss(d.zeros([2, 3]), d.zeros([3])),
    `mseLoss: target must have x's shape [2, 3], got [3]`,
  ],
  [
    'another reduction',
    (d) => bceWithLogits(d.zeros([2]), d.zeros([2]), { reduction: 'all' as 'sum' }),
    `bceWithLogits: reduction must be 'mean' or 'sum' or 'none', got 'all'`,
  ],
])('refuse %s', (_name, call, message) => {
  expect(() => device.scope(() => void call(device))).toThrow(message);
});
