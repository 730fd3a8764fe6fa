import { describe, expect, test } from 'vitest';
import { linear, matmul, type MatmulOptions } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { matmul as reference } from '../reference/matmul.ts';
import { matmulTolerance } from '../reference/tolerances.ts';
import { expectGradients, type GradientProblem } from './gradient-run.ts';
import { stored, upload } from './upload.ts';

const random = new Random(59);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

describe.each(['float32', 'float16'] as const)('gradients in %s', (dtype) => {
  /** Checks the gradients of a, of b and of a bias if there is one. */
  const expectProduct = (
    a: HostArray,
    b: HostArray,
    { bias, ...options }: Omit<MatmulOptions, 'bias'> & { bias?: HostArray } = {},
    given: Partial<GradientProblem> = {},
  ) =>
    expectGradients({
      dtype,
      inputs: bias ? [a, b, bias] : [a, b],
      op: ([x, y, z]) => matmul(x, y, { ...options, ...(z && { bias: z }) }),
      reference: ([x, y, z]) => reference(x, y, { ...options, ...(z && { bias: z }) }),
      ...given,
    });

  test('of a product, whichever operands are transposed', async () => {
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const a = transposeA ? normals(5, 7) : normals(7, 5);
        const b = transposeB ? normals(9, 5) : normals(5, 9);
        await expectProduct(a, b, { transposeA, transposeB, bias: normals(9) });
        await expectProduct(
          a,
          b,
          { transposeA, transposeB },
          { layouts: [{ before: [1, 2] }, { axes: [1, 0] }], gradientLayout: { axes: [1, 0], before: [0, 1] } },
        );
      }
    }
    await expectProduct(normals(1, 1), normals(1, 1), { bias: normals(1) });
    await expectProduct(normals(4, 8), normals(8, 12), {}, { repeats: [0, 1] });
  });

  test.each<[number[], number[]]>([
    [
      [3, 4, 5],
      [3, 5, 2],
    ],
    [
      [3, 4, 5],
      [5, 2],
    ],
    [
      [4, 5],
      [3, 5, 2],
    ],
    [
      [2, 1, 3, 5],
      [4, 5, 2],
    ],
    [
      [2, 3, 2, 3],
      [1, 3, 3, 2],
    ],
    [
      [1, 3, 2],
      [1, 2, 4],
    ],
    [
      [2, 1, 2, 1, 3, 2],
      [1, 2, 3],
    ],
  ])('of batches: %j · %j', async (aShape, bShape) => {
    const [a, b] = [normals(...aShape), normals(...bShape)];
    await expectProduct(a, b, { bias: normals(bShape.at(-1)!) });
    const columnsFirst = { axes: [...aShape.keys()].toReversed() };
    await expectProduct(a, b, {}, { layouts: [columnsFirst], repeats: [0] });
    const swapped = { shape: bShape.with(-1, bShape.at(-2)!).with(-2, bShape.at(-1)!), data: b.data };
    await expectProduct(a, swapped, { transposeB: true });
  });

  test.each<[number[], number]>([
    [[5], 3],
    [[1], 1],
    [[4, 6], 5],
    [[2, 5, 7], 3],
    [[2, 1, 3, 8], 4],
  ])('of linear: x %j, %i columns', async (shape, out) => {
    const depth = shape.at(-1)!;
    const inputs = [normals(...shape), normals(out, depth), normals(out)];
    const problem: GradientProblem = {
      dtype,
      inputs,
      op: ([x, weight, bias]) => linear(x, weight, { bias }),
      reference: ([x, weight, bias]) => {
        const rows = { shape: [x.data.length / depth, depth], data: x.data };
        const { data } = reference(rows, weight, { transposeB: true, bias });
        return { shape: [...shape.slice(0, -1), out], data };
      },
    };
    await expectGradients(problem);
    const layouts = [{ before: shape.map(() => 1) }, { axes: [1, 0] }, { before: [1] }];
    await expectGradients({ ...problem, layouts, repeats: [0] });
  });

  test('of a weight, over rows that are divided into parts', async () => {
    const device = await testDevice();
    const [rows, depth, columns] = [1024, 3, 5];
    const x = normals(2, rows / 2, depth);
    const g = normals(2, rows / 2, columns);
    const { live } = device.memory();
    const before = device.runtime.counters().dispatches;
    const gradient = device.scope(() => {
      const weight = device.zeros([columns, depth], { dtype, requiresGrad: true });
      const [xs, gs] = [x, g].map((array) => upload(device, array, dtype));
      linear(xs, weight).backward(gs);
      return weight.grad!.detach();
    });
    // the product itself, that of the parts, and their sum
    expect(device.runtime.counters().dispatches - before).toBe(3);
    const flat = (array: HostArray) => ({ shape: [rows, array.shape[2]], data: stored(array, dtype).data });
    const expected = reference(flat(g), flat(x), { transposeA: true });
    expectClose(await gradient.data(), expected.data, matmulTolerance(rows, dtype), 'weight');
    gradient.dispose();
    expect(device.memory().live).toBe(live);
  });
});

test('of a tensor times its own transpose', () =>
  expectGradients({
    dtype: 'float32',
    inputs: [normals(2, 5, 3)],
    op: ([x]) => matmul(x, x, { transposeB: true }),
    reference: ([x]) => reference(x, x, { transposeB: true }),
  }));

test('compute only what is wanted', async () => {
  const device = await testDevice();
  const dispatches = (names: readonly string[]): number => {
    const before = device.runtime.counters().dispatches;
    device.scope(() => {
      const [x, weight, bias] = [[4, 6], [5, 6], [5]].map((shape) => device.zeros(shape));
      for (const name of names) ({ x, weight, bias })[name]!.requiresGrad = true;
      linear(x, weight, { bias }).backward(device.zeros([4, 5]));
    });
    return device.runtime.counters().dispatches - before;
  };
  for (const name of ['x', 'weight', 'bias']) expect(dispatches([name])).toBe(2);
  expect(dispatches(['x', 'bias'])).toBe(3);
  expect(dispatches(['x', 'weight', 'bias'])).toBe(4);
});

test('save only what a wanted gradient reads', async () => {
  const device = await testDevice();
  using x = device.zeros([64, 256]);
  using weight = device.zeros([128, 256], { requiresGrad: true });
  const { live } = device.memory();
  device.scope(() => {
    const activation = matmul(x, weight, { transposeB: true }); // saves x, which lives anyway
    const detached = activation.detach();
    activation.dispose();
    expect(device.memory().live - live).toBe(4 * 64 * 128);
    linear(detached, device.zeros([128, 128])).dispose(); // recorded nowhere
    const frozen = device.zeros([128, 128]);
    const output = linear(detached, weight.slice(1, 0, 128)); // saves its input
    detached.dispose();
    expect(device.memory().live - live).toBe(4 * (2 * 64 * 128 + 2 * 128 * 128));
    const next = linear(output, frozen); // saves the weight alone
    output.dispose();
    expect(device.memory().live - live).toBe(4 * (2 * 64 * 128 + 2 * 128 * 128));
    next.dispose();
  });
  expect(device.memory().live).toBe(live);
});
