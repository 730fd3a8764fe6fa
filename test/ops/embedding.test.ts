import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, embedding } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { embedding as reference } from '../reference/embedding.ts';
import { sizeOf } from '../reference/host-array.ts';
import { type Layout, stored, upload } from './upload.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(31);

describe.each(['float32', 'float16'] as const)('embedding in %s', (dtype) => {
  async function expectRows(
    ids: { shape: number[]; data: Int32Array | Uint32Array },
    table: [number, number],
    layout?: Layout,
  ): Promise<void> {
    const weight = { shape: table, data: random.normals(table) };
    const result = device.scope(() =>
      embedding(device.tensor(ids.data, ids.shape), upload(device, weight, dtype, layout)),
    );
    expect(result.shape).toEqual([...ids.shape, table[1]]);
    expect(result.dtype).toBe(dtype);
    expect([...(await result.data())]).toEqual([...reference(ids, stored(weight, dtype)).data]);
    result.dispose();
  }
  const draw = (shape: number[], rows: number) => ({
    shape,
    data: Int32Array.from({ length: sizeOf(shape) }, () => random.integer(0, rows - 1)),
  });

  test.each<[number[], [number, number]]>([
    [[1], [1, 1]],
    [[7], [5, 3]],
    [
      [2, 3],
      [9, 4],
    ],
    [
      [3, 1, 5],
      [2, 17],
    ],
    [
      [1, 2, 1, 2, 3],
      [40, 64],
    ],
  ])('ids %j of a table %j', async (shape, table) => {
    await expectRows(draw(shape, table[0]), table);
  });

  test.each<[string, Layout]>([
    ['transposed', { axes: [1, 0] }],
    ['sliced at odd elements', { before: [1, 1], after: [2, 3] }],
    ['sliced at quads', { before: [1, 4], after: [0, 4] }],
  ])('a table %s', async (_name, layout) => {
    await expectRows(draw([6], 8), [8, 12], layout);
    await expectRows(draw([6], 7), [7, 5], layout);
  });

  test('an id out of range gives a row of NaN', async () => {
    const odd = [0, -1, 4, 5, 6, 2 ** 31 - 1, -(2 ** 31), 3];
    await expectRows({ shape: [2, 4], data: Int32Array.from(odd) }, [5, 6]);
    await expectRows({ shape: [3], data: Uint32Array.of(4, 5, 2 ** 32 - 1) }, [5, 3]);
  });
});

describe('embedding', () => {
  test('ids of a strided view', async () => {
    const weight = { shape: [6, 3], data: random.normals([6, 3]) };
    const ids = Uint32Array.of(0, 1, 2, 3, 4, 5);
    const [whole, part] = device.scope(() => {
      const table = upload(device, weight, 'float32');
      const stored = device.tensor(ids, [2, 3]);
      return [embedding(stored.transpose(), table), embedding(stored.slice(0, 1, 2), table)];
    });
    const rows = (order: number[]) => order.flatMap((id) => [...weight.data.subarray(3 * id, 3 * id + 3)]);
    expect([...(await whole.data())]).toEqual(rows([0, 3, 1, 4, 2, 5]));
    expect([...(await part.data())]).toEqual(rows([3, 4, 5]));
    whole.dispose();
    part.dispose();
  });

  test('of more workgroups than one dimension holds', async () => {
    const weight = { shape: [9, 128], data: random.normals([9, 128]) };
    const ids = { shape: [64], data: Int32Array.from({ length: 64 }, () => random.integer(0, 8)) };
    await withWorkgroupLimit(device, 3, async () => {
      const result = device.scope(() =>
        embedding(device.tensor(ids.data, ids.shape), upload(device, weight, 'float32')),
      );
      expect([...(await result.data())]).toEqual([...reference(ids, weight).data]);
      result.dispose();
    });
  });

  test.each<[string, (device: Device) => unknown, string]>([
    ['float ids', (d) => embedding(d.zeros([2]), d.zeros([3, 4])), 'ids must be int32 or uint32, got float32'],
    [
      'an integer table',
      (d) => embedding(d.zeros([2], { dtype: 'int32' }), d.zeros([3, 4], { dtype: 'int32' })),
      'weight must be float32 or float16, got int32',
    ],
    [
      'a table of three axes',
      (d) => embedding(d.zeros([2], { dtype: 'int32' }), d.zeros([3, 4, 1])),
      'weight must be [numEmbeddings, embeddingDim], got [3, 4, 1]',
    ],
    [
      'ids of six axes',
      (d) => embedding(d.zeros([1, 1, 1, 1, 1, 2], { dtype: 'int32' }), d.zeros([3, 4])),
      'ids must have at most 5 axes, got [1, 1, 1, 1, 1, 2]',
    ],
  ])('refuses %s', (_name, call, message) => {
    expect(() => device.scope(() => void call(device))).toThrow(`embedding: ${message}`);
  });
});
