import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { add, type Device, gelu, multiply, relu, silu, swiglu, type Tensor } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { elementwise, functions } from '../reference/elementwise.ts';
import { numericalGradients } from '../reference/finite-differences.ts';
import type { HostArray } from '../reference/host-array.ts';
import { tolerances } from '../reference/tolerances.ts';
import { expectGradients, type GradientProblem } from './gradient-run.ts';
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

describe.each(['float32', 'float16'] as const)('gradients in %s', (dtype) => {
  describe.each(Object.entries(UNARY))('of %s', (_name, [op, apply]) => {
    const expectUnary = (x: HostArray, given: Partial<GradientProblem> = {}) =>
      expectGradients({
        dtype,
        inputs: [x],
        op: ([tensor]) => op(tensor),
        reference: ([array]) => elementwise(apply, array),
        ...given,
      });

    test('over its range, tails included', async () => {
      // the nearest to 0, where relu has none, is a step of 1/30 away
      await expectUnary({ shape: [601], data: Float32Array.from({ length: 601 }, (_, i) => (i - 300.5) / 15) });
    });

    test.each([[[1]], [[5, 1]], [[3, 2, 9]]])('shape %j', (shape) => expectUnary(normals(...shape)));

    test('strided views, and strided and repeated gradients', async () => {
      await expectUnary(normals(6, 8), { layouts: [{ axes: [1, 0] }], gradientLayout: { before: [1, 3] } });
      await expectUnary(normals(3, 5, 7), { layouts: [{ before: [0, 1, 4] }], gradientLayout: { axes: [1, 2, 0] } });
      await expectUnary(normals(4, 8), { repeats: [0, 1] });
      await expectUnary(normals(4, 8), { repeats: [1] });
    });

    test('has the limits at infinity, and keeps NaN', async () => {
      const largest = dtype === 'float32' ? 3.4e38 : 65504;
      using x = device.tensor([NaN, Infinity, -Infinity, largest, -largest, 1e4, -1e4], [7], { dtype });
      x.requiresGrad = true;
      device.scope(() => op(x).backward(device.tensor([1, 2, 2, 2, 2, 2, 2], [7], { dtype })));
      const [ofNaN, ...others] = (await x.grad!.data()) as Float32Array;
      if (op === relu) expect(ofNaN).toBe(1); // as PyTorch's
      else expect(ofNaN).toBeNaN();
      expect(others.map(Math.abs)).toEqual([2, 0, 2, 0, 2, 0]);
    });
  });

  describe.each(Object.entries(BINARY))('of %s', (_name, [op, apply]) => {
    const expectBinary = (x: HostArray, y: HostArray, given: Partial<GradientProblem> = {}) =>
      expectGradients({
        dtype,
        inputs: [x, y],
        op: ([a, b]) => op(a, b),
        reference: ([a, b]) => elementwise(apply, a, b),
        ...given,
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
    ])('%j with %j', (x, y) => expectBinary(normals(...x), normals(...y)));

    test('strided views, and strided and repeated gradients', async () => {
      await expectBinary(normals(6, 8), normals(6, 1), {
        layouts: [{ axes: [1, 0] }, { before: [1, 2] }],
        gradientLayout: { axes: [1, 0], before: [2, 1] },
      });
      await expectBinary(normals(3, 5, 7), normals(5, 7), { repeats: [0, 2] });
    });
  });
});

describe('gradients of elementwise ops', () => {
  test('where x and y are one tensor', async () => {
    const data = random.normals([9]);
    for (const [op, apply] of Object.values(BINARY)) {
      using x = device.tensor(data, [9], { requiresGrad: true });
      const ones = { shape: [9], data: new Float32Array(9).fill(1) };
      device.scope(() => op(x, x).backward(device.tensor(ones.data, [9])));
      const [expected] = numericalGradients((a) => elementwise(apply, a, a), [{ shape: [9], data }], ones);
      expectClose(await x.grad!.data(), expected.data, tolerances.float32.opGradient, op.name);
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
    const saved = (op: typeof multiply, y: Tensor): number => {
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
    const multiplySum = (a: Tensor, b: Tensor): Tensor => {
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
