import { describe, expect, test } from 'vitest';
import { cast, clone, concat, contiguous, reshape } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { broadcast, concat as concatReference, type HostArray } from '../reference/host-array.ts';
import { expectGradients } from './gradient-run.ts';

const random = new Random(53);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });
const float64 = ({ shape, data }: HostArray): HostArray => ({ shape, data: Float64Array.from(data) });

describe.each(['float32', 'float16'] as const)('gradients in %s', (dtype) => {
  test.each([
    ['clone', clone],
    ['contiguous', contiguous],
  ] as const)('of %s', async (_name, op) => {
    const problem = {
      dtype,
      op: ([x]: readonly Parameters<typeof op>[0][]) => op(x),
      reference: ([x]: readonly HostArray[]) => float64(x),
    };
    await expectGradients({ ...problem, inputs: [normals(3, 5)] });
    await expectGradients({
      ...problem,
      inputs: [normals(3, 5)],
      layouts: [{ axes: [1, 0] }],
      gradientLayout: { axes: [1, 0] },
    });
    await expectGradients({ ...problem, inputs: [normals(2, 3, 5)], layouts: [{ before: [0, 1, 1] }], repeats: [1] });
  });

  test('of reshape, by a view and by a copy', async () => {
    for (const axes of [
      [0, 1, 2],
      [2, 1, 0],
    ]) {
      await expectGradients({
        dtype,
        inputs: [normals(2, 3, 5)],
        op: ([x]) => reshape(x, [5, -1]),
        reference: ([x]) => ({ shape: [5, 6], data: Float64Array.from(x.data) }),
        layouts: [{ axes }],
        gradientLayout: { axes: [1, 0] },
      });
    }
  });

  test.each<[number[], number[], number]>([
    [[3], [4], 0],
    [[2, 3, 5], [2, 2, 5], 1],
    [[2, 3, 5], [1, 2, 5], 1],
    [[2, 3, 5], [2, 3, 1], -1],
    [[2, 3, 5], [1, 1, 3], -1],
  ])('of concat: %j and %j along axis %i', async (xShape, yShape, axis) => {
    const at = (axis + xShape.length) % xShape.length;
    await expectGradients({
      dtype,
      inputs: [normals(...xShape), normals(...yShape)],
      op: ([x, y]) => concat(x, y, axis),
      reference: ([x, y]) => concatReference([x, broadcast(y, x.shape.with(at, y.shape[at]))], at),
      layouts: [{ before: [1] }, { before: [1] }],
      gradientLayout: { before: [0, 1] },
    });
  });
});

test('cast’s gradient has the dtype of what was cast', async () => {
  const device = await testDevice();
  for (const [from, to] of [
    ['float32', 'float16'],
    ['float16', 'float32'],
  ] as const) {
    using x = device.tensor([1, 2, 3, 4, 5, 6], [2, 3], { dtype: from, requiresGrad: true });
    device.scope(() =>
      cast(x, to).backward(device.tensor([1, 0.5, 2, -4, 0, 3], [3, 2], { dtype: to }).reshape([2, 3])),
    );
    expect(x.grad!.dtype).toBe(from);
    expect([...(await x.grad!.data())]).toEqual([1, 0.5, 2, -4, 0, 3]);
  }
});
