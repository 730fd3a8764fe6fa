import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, dropout, type DropoutOptions } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { dropoutKeeps } from '../reference/dropout.ts';
import { type HostArray, sizeOf } from '../reference/host-array.ts';
import { tolerances } from '../reference/tolerances.ts';
import { expectGradients } from './gradient-run.ts';
import { type Float, type Layout, stored, upload } from './upload.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(71);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

function reference({ shape, data }: HostArray, p: number, seed: number): HostArray {
  const keeps = dropoutKeeps(sizeOf(shape), p, seed);
  return { shape, data: Float64Array.from(data, (value, n) => (keeps[n] ? value / (1 - p) : 0)) };
}

async function read(x: HostArray, options: DropoutOptions, dtype: Float = 'float32', layout?: Layout) {
  const result = device.scope(() => dropout(upload(device, x, dtype, layout), options));
  expect(result.shape).toEqual(x.shape);
  expect(result.dtype).toBe(dtype);
  expect(result.isContiguous).toBe(true);
  const values = await result.data();
  result.dispose();
  return values;
}

describe.each(['float32', 'float16'] as const)('dropout in %s', (dtype) => {
  test.each<[number[], Layout]>([
    [[1], {}],
    [[7], {}],
    [[3, 5], {}],
    [[5, 3], { axes: [1, 0] }],
    [[2, 3, 7], { before: [1, 0, 3] }],
    [[2, 1, 3, 2, 1, 5], { axes: [4, 5, 0, 3, 2, 1] }],
    [[40, 33], {}],
  ])('shape %j, layout %j', async (shape, layout) => {
    const x = normals(...shape);
    for (const [p, seed] of [
      [0.5, 0],
      [0.1, 2 ** 32 + 5],
      [0.9, 2 ** 53 - 1],
    ]) {
      const expected = reference(stored(x, dtype), p, seed);
      const values = await read(x, { p, seed }, dtype, layout);
      expectClose(values, expected.data, tolerances[dtype].sum, `p ${p}, seed ${seed}`);
    }
  });

  test('p of 0 keeps all, and of 1 nothing', async () => {
    const x = normals(5, 9);
    expect([...(await read(x, { p: 0 }, dtype))]).toEqual(Array.from(stored(x, dtype).data));
    expect([...(await read(x, { p: 1 }, dtype))].map(Math.abs)).toEqual(Array.from(x.data, () => 0));
  });

  test('has a gradient that is dropped alike', async () => {
    for (const [shape, repeats] of [
      [[7], []],
      [[4, 9], [0]],
      [[2, 3, 6], []],
    ] as const) {
      await expectGradients({
        dtype,
        inputs: [normals(...shape)],
        op: ([x]) => dropout(x, { p: 0.3, seed: 12 }),
        reference: ([x]) => reference(x, 0.3, 12),
        gradientLayout: { before: [1] },
        repeats,
      });
    }
  });
});

describe('dropout', () => {
  test('drops a share of p, the same for one seed and different for others', async () => {
    const n = 40_000;
    const ones = { shape: [n], data: new Float32Array(n).fill(1) };
    const patterns: Float32Array[] = [];
    for (const seed of [1, 2]) {
      const values = await read(ones, { p: 0.25, seed });
      const kept = values.filter((value) => value !== 0);
      expect(new Set(kept)).toEqual(new Set([Math.fround(1 / 0.75)]));
      // five standard deviations
      expect(Math.abs(kept.length / n - 0.75)).toBeLessThan(5 * Math.sqrt((0.25 * 0.75) / n));
      expect(await read(ones, { p: 0.25, seed })).toEqual(values);
      patterns.push(values);
    }
    const alike = patterns[0].filter((value, i) => (value !== 0) === (patterns[1][i] !== 0)).length;
    expect(Math.abs(alike / n - (0.75 ** 2 + 0.25 ** 2))).toBeLessThan(0.02);
  });

  test('draws differently each time without a seed', async () => {
    const ones = { shape: [256], data: new Float32Array(256).fill(1) };
    expect(await read(ones, {})).not.toEqual(await read(ones, {}));
  });

  test('drops NaN and infinities', async () => {
    const x = { shape: [64], data: Float32Array.from({ length: 64 }, (_, i) => (i % 2 ? NaN : Infinity)) };
    const keeps = dropoutKeeps(64, 0.5, 3);
    const values = await read(x, { seed: 3 });
    expect([...values].map((value) => value !== 0)).toEqual(keeps);
  });

  test('of more workgroups than one dimension holds', async () => {
    const x = normals(5000);
    await withWorkgroupLimit(device, 3, async () => {
      const values = await read(x, { seed: 4 });
      expectClose(values, reference(x, 0.5, 4).data, tolerances.float32.sum, 'folded');
    });
  });

  test.each<[string, (device: Device) => unknown, string]>([
    ['integers', (d) => dropout(d.zeros([2], { dtype: 'int32' })), 'x must be float32 or float16, got int32'],
    ['p above 1', (d) => dropout(d.zeros([2]), { p: 1.5 }), 'p must be a number from 0 to 1, got 1.5'],
    ['NaN for p', (d) => dropout(d.zeros([2]), { p: NaN }), 'p must be a number from 0 to 1, got NaN'],
    [
      'a seed that is no integer',
      (d) => dropout(d.zeros([2]), { seed: 0.5 }),
      'seed must be a whole number from 0 to 2^53 - 1, got 0.5',
    ],
    ['unknown options', (d) => dropout(d.zeros([2]), { rate: 0.5 } as object), `unknown option 'rate'`],
  ])('refuses %s', (_name, call, message) => {
    expect(() => device.scope(() => void call(device))).toThrow(`dropout: ${message}`);
  });
});
