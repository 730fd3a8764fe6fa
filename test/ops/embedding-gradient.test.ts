import { describe, expect, test } from 'vitest';
import { embedding } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { embedding as reference } from '../reference/embedding.ts';
import { zeros, type HostArray } from '../reference/host-array.ts';
import { tolerances } from '../reference/tolerances.ts';
import { expectGradients, type GradientProblem } from './gradient-run.ts';
import { changeTraits } from './traits.ts';
import { stored, upload } from './upload.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

const random = new Random(67);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });
const draw = (shape: number[], rows: number) => ({
  shape,
  data: Int32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.integer(0, rows - 1)),
});

describe.each(['float32', 'float16'] as const)('embedding’s gradient in %s', (dtype) => {
  test.each<[number[], [number, number]]>([
    [[1], [1, 1]],
    [[9], [5, 3]],
    [
      [2, 3],
      [9, 4],
    ],
    [
      [2, 1, 40],
      [3, 18],
    ],
    [[70], [1, 6]],
  ])('ids %j of a table %j', async (shape, table) => {
    const device = await testDevice();
    const ids = draw(shape, table[0]);
    const problem: GradientProblem = {
      dtype,
      inputs: [normals(...table)],
      op: ([weight]) => embedding(device.tensor(ids.data, ids.shape), weight),
      reference: ([weight]) => reference(ids, weight),
    };
    await expectGradients(problem);
    await expectGradients({ ...problem, layouts: [{ axes: [1, 0] }], gradientLayout: { before: [1] } });
    await expectGradients({ ...problem, repeats: [0] });
  });

  test('is 0 where no id is, and out-of-range ids have none', async () => {
    const device = await testDevice();
    const ids = Int32Array.of(3, -1, 3, 5, 2 ** 31 - 1, 0, -(2 ** 31), 3);
    const g = normals(8, 5);
    using weight = device.zeros([5, 5], { dtype, requiresGrad: true });
    device.scope(() => embedding(device.tensor(ids, [8]), weight).backward(upload(device, g, dtype)));
    const expected = zeros([5, 5]);
    const rows = stored(g, dtype).data;
    ids.forEach((id, n) => {
      for (let column = 0; column < 5 && id >= 0 && id < 5; column++) {
        expected.data[id * 5 + column] += rows[n * 5 + column];
      }
    });
    expectClose(await weight.grad!.data(), expected.data, tolerances[dtype].sum, 'weight');
  });

  test('of long runs of one id, and of ids of a strided view', async () => {
    const device = await testDevice();
    const ids = Uint32Array.from({ length: 600 }, (_, n) => (n % 3 === 0 ? n % 11 : 7));
    const g = normals(300, 2, 7);
    using weight = device.zeros([11, 7], { dtype, requiresGrad: true });
    device.scope(() => {
      const view = device.tensor(ids, [2, 300]).transpose();
      embedding(view, weight).backward(upload(device, g, dtype));
    });
    const expected = zeros([11, 7]);
    const rows = stored(g, dtype).data;
    for (let n = 0; n < 600; n++) {
      const id = ids[(n % 2) * 300 + Math.floor(n / 2)];
      for (let column = 0; column < 7; column++) expected.data[id * 7 + column] += rows[n * 7 + column];
    }
    expectClose(await weight.grad!.data(), expected.data, tolerances[dtype].sum, 'weight');
  });
});

test('embedding’s gradient, with rows shared among invocations as on a GPU', async () => {
  const device = await testDevice();
  const restore = changeTraits(device, { isSoftware: false });
  try {
    for (const [count, table] of [
      [90, [3, 37]],
      [9, [20, 130]],
    ] as [number, [number, number]][]) {
      const ids = draw([count], table[0]);
      await expectGradients({
        dtype: 'float32',
        inputs: [normals(...table)],
        op: ([weight]) => embedding(device.tensor(ids.data, ids.shape), weight),
        reference: ([weight]) => reference(ids, weight),
      });
    }
  } finally {
    restore();
  }
});

test('embedding’s gradient of more workgroups than one dimension holds', async () => {
  const device = await testDevice();
  const ids = draw([200], 300);
  const g = normals(200, 6);
  using weight = device.zeros([300, 6], { requiresGrad: true });
  await withWorkgroupLimit(device, 20, async () => {
    device.scope(() =>
      embedding(device.tensor(ids.data, [200]), weight).backward(device.tensor(g.data as Float32Array, [200, 6])),
    );
    await device.sync();
  });
  const expected = zeros([300, 6]);
  ids.data.forEach((id, n) => {
    for (let column = 0; column < 6; column++) expected.data[id * 6 + column] += g.data[n * 6 + column];
  });
  expectClose(await weight.grad!.data(), expected.data, tolerances.float32.sum, 'weight');
});

test.each([1024, 1025, 2500, 4500])('%d ids, more than one run of the sort', async (count) => {
  const device = await testDevice();
  const ids = draw([count], 9);
  ids.data[count - 1] = 8; // whose row comes last, and alone where the last run is of one id
  const g: HostArray = { shape: [count, 2], data: Float32Array.from({ length: 2 * count }, (_, i) => (i % 127) - 63) };
  using weight = device.zeros([9, 2], { requiresGrad: true });
  device.scope(() => embedding(device.tensor(ids.data, [count]), weight).backward(upload(device, g, 'float32')));
  const expected = new Float32Array(18);
  ids.data.forEach((id, n) => {
    for (const column of [0, 1]) expected[2 * id + column] += g.data[2 * n + column];
  });
  // whole numbers, whose sums are exact in any order
  expect(await weight.grad!.data()).toEqual(expected);
});
