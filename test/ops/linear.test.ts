import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, linear } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { matmul as reference } from '../reference/matmul.ts';
import { matmulTolerance } from '../reference/tolerances.ts';
import { type Layout, stored, upload } from './upload.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(37);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

describe.each(['float32', 'float16'] as const)('linear in %s', (dtype) => {
  async function expectLinear(shape: number[], out: number, hasBias: boolean, layouts: Layout[] = []): Promise<void> {
    const depth = shape.at(-1)!;
    const [x, weight, bias] = [normals(...shape), normals(out, depth), normals(out)];
    const result = device.scope(() =>
      linear(upload(device, x, dtype, layouts[0]), upload(device, weight, dtype, layouts[1]), {
        bias: hasBias ? upload(device, bias, dtype, layouts[2]) : undefined,
      }),
    );
    expect(result.shape).toEqual([...shape.slice(0, -1), out]);
    expect(result.dtype).toBe(dtype);
    const rows = { shape: [x.data.length / depth, depth], data: stored(x, dtype).data };
    const wanted = reference(rows, stored(weight, dtype), {
      transposeB: true,
      bias: hasBias ? stored(bias, dtype) : undefined,
    });
    expectClose(await result.data(), wanted.data, matmulTolerance(depth, dtype), `linear of ${shape}`);
    result.dispose();
  }

  test.each([
    [[1], 1],
    [[7], 5],
    [[3, 8], 12],
    [[2, 5, 33], 17],
    [[2, 1, 3, 64], 9],
  ])('x %j, %i columns', async (shape, out) => {
    await expectLinear(shape, out, true);
    await expectLinear(shape, out, false);
  });

  test('views: x transposed, weight transposed, bias sliced and strided', async () => {
    await expectLinear([2, 6, 8], 10, true, [{ axes: [1, 0, 2] }, { axes: [1, 0] }, { before: [3], after: [1] }]);
    await expectLinear([9], 4, true, [{ before: [1] }, { before: [1, 1] }]);
  });
});

describe('linear', () => {
  test('a bias of every other element is copied first', async () => {
    const all = normals(6, 2);
    const [x, weight] = [normals(2, 3), normals(6, 3)];
    const result = device.scope(() => {
      const bias = upload(device, all, 'float32').slice(1, 1, 2).reshape([6]);
      return linear(upload(device, x, 'float32'), upload(device, weight, 'float32'), { bias });
    });
    const bias = { shape: [6], data: Array.from({ length: 6 }, (_, i) => all.data[2 * i + 1]) };
    const wanted = reference(x, weight, { transposeB: true, bias });
    expectClose(await result.data(), wanted.data, matmulTolerance(3), 'linear');
    result.dispose();
  });

  test.each<[string, (device: Device) => unknown, string]>([
    [
      'a weight of another depth',
      (d) => linear(d.zeros([2, 3]), d.zeros([5, 4])),
      "weight must be [out, 3] to match x's rows",
    ],
    [
      'a weight of one axis',
      (d) => linear(d.zeros([2, 3]), d.zeros([3])),
      `weight must be [out, 3] to match x's rows, got [3]`,
    ],
    [
      'a bias of another length',
      (d) => linear(d.zeros([2, 3]), d.zeros([5, 3]), { bias: d.zeros([3]) }),
      'bias must have shape [5], got [3]',
    ],
    [
      'mixed dtypes',
      (d) => linear(d.zeros([2, 3]), d.zeros([5, 3], { dtype: 'float16' })),
      `weight must have x's dtype float32, got float16`,
    ],
  ])('refuses %s', (_name, call, message) => {
    expect(() => device.scope(() => void call(device))).toThrow(`linear: ${message}`);
  });
});
