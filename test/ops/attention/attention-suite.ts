/** What holds for every attention op. Each op's test file runs these tests on it and adds its own. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Device,
  flashAttention,
  localAttention,
  scaledDotProductAttention,
  type AttentionOptions,
  type Tensor,
} from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { IS_MATRIX, narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { expectClose } from '../../reference/compare.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { tolerances } from '../../reference/tolerances.ts';
import {
  type AttentionOp,
  enqueueAttention,
  expectAttention,
  type Problem,
  referenceAttention,
  runAttention,
} from './attention-run.ts';
import { type Float, type Layout, stored } from '../upload.ts';
import { withWorkgroupLimit } from './workgroup-limit.ts';

const DTYPES: readonly Float[] = ['float32', 'float16'];
const POISON = [NaN, Infinity, -Infinity, 1e30];

type Dims = readonly [dim: number, valueDim: number];

interface Sizes {
  batch?: number;
  heads?: number;
  kvHeads?: number;
  queries?: number;
  keys?: number;
  dim?: number;
  valueDim?: number;
}

/** Normal q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv]. */
export function randomOperands(random: Random, sizes: Sizes = {}): Pick<Problem, 'q' | 'k' | 'v'> {
  const { batch = 2, heads = 2, kvHeads = heads, queries = 9, keys = 13, dim = 8, valueDim = dim } = sizes;
  const normals = (...shape: number[]) => ({ shape, data: random.normals(shape) });
  return {
    q: normals(batch, heads, queries, dim),
    k: normals(batch, kvHeads, keys, dim),
    v: normals(batch, kvHeads, keys, valueDim),
  };
}

export function boolMask(random: Random, shape: number[], share = 0.6): HostArray {
  return { shape, data: random.bools(shape, share) };
}

/** Numbers to add, a fifth of them −∞. */
export function floatMask(random: Random, shape: number[]): HostArray {
  return { shape, data: random.normals(shape).map((value) => (random.uniform() < 0.2 ? -Infinity : value)) };
}

export function map({ shape, data }: HostArray, value: (x: number, at: number) => number): HostArray {
  return { shape, data: Float32Array.from(data, value) };
}

/** The op on tensors of the caller, with its own required options. */
export function call(op: AttentionOp, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}) {
  switch (op) {
    case 'flashAttention':
      return flashAttention(q, k, v, options);
    case 'localAttention':
      return localAttention(q, k, v, { ...options, window: { left: -1, right: -1 } });
    case 'scaledDotProductAttention':
      return scaledDotProductAttention(q, k, v, options);
  }
}

/**
 * Visibility knows nothing of storage, so the matrix alone has it in float16; and what localAttention shares with
 * flashAttention (reading operands, scores, storing) is tested there.
 */
function dtypesOf(op: AttentionOp): readonly Float[] {
  return op === 'localAttention' ? narrow(['float32'], DTYPES) : DTYPES;
}

export function describeAttention(op: AttentionOp): void {
  describe(op, () => {
    let device: Device;
    let liveBefore: number;
    beforeAll(async () => {
      device = await testDevice();
      liveBefore = device.memory().live;
    });
    afterAll(() => expect(device.memory().live).toBe(liveBefore));

    describe.each(dtypesOf(op))('%s', (dtype) => {
      describeShapes(op, dtype);
      if (dtype === 'float32' || IS_MATRIX) describeVisibility(op, dtype);
      if (op !== 'localAttention' || IS_MATRIX) describeViews(op, dtype);
      if (op !== 'localAttention' || IS_MATRIX) describeSentinels(op, dtype);
    });
    describeResults(op);
  });
}

function describeShapes(op: AttentionOp, dtype: Float): void {
  test.each([
    [1, 1],
    [1, 33],
    [5, 1],
    [31, 33],
    [32, 32],
    [33, 31],
    [65, 64],
    [70, 130],
    [3, 257],
  ])('lengths %i and %i', async (queries, keys) => {
    await expectAttention(op, randomOperands(new Random(queries), { queries, keys, dim: 16 }), dtype);
  });

  // each bucket of head dims is compiled for each dtype
  const small: readonly Dims[] = [
    [1, 1],
    [1, 5],
    [3, 3],
    [7, 1],
    [32, 32],
  ];
  const middle: readonly Dims[] = [
    [2, 33],
    [20, 59],
    [59, 20],
    [64, 64],
  ];
  const large: readonly Dims[] = [
    [96, 40],
    [160, 7],
    [256, 31],
  ];
  const isFull = dtype === 'float32' && op !== 'localAttention';
  test.each(narrow(isFull ? [...small, ...middle, large[2]] : small, [...small, ...middle, ...large]))(
    'head dim %i and value dim %i',
    async (dim, valueDim) => {
      const operands = randomOperands(new Random(dim), { batch: 1, queries: 35, keys: 37, dim, valueDim });
      await expectAttention(op, operands, dtype);
    },
  );

  test.each([
    [4, 2],
    [6, 1],
    [6, 3],
  ])('%i heads over %i key heads', async (heads, kvHeads) => {
    await expectAttention(op, randomOperands(new Random(heads), { heads, kvHeads, valueDim: 5 }), dtype);
  });

  test.each([0, -0.7, 3])('scale %f', async (scale) => {
    await expectAttention(op, { ...randomOperands(new Random(3), { keys: 40 }), scale }, dtype, { isFar: true });
  });

  test('without a head axis', async () => {
    const random = new Random(4);
    const { q, k, v } = randomOperands(random, { heads: 1, queries: 9, keys: 13, valueDim: 5 });
    const drop = ({ shape: [batch, , ...rest], data }: HostArray) => ({ shape: [batch, ...rest], data });
    const problem = { q: drop(q), k: drop(k), v: drop(v) };
    for (const mask of [[13], [9, 1], [9, 13], [1, 9, 13], [2, 1, 13], [2, 9, 13]]) {
      await expectAttention(op, { ...problem, mask: boolMask(random, mask) }, dtype);
      await expectAttention(op, { ...problem, mask: floatMask(random, mask), isCausal: 'bottom-right' }, dtype);
    }
    await expectAttention(op, { ...problem, keyMask: boolMask(random, [2, 13]) }, dtype);
  });
}

function describeVisibility(op: AttentionOp, dtype: Float): void {
  const [batch, heads, queries, keys] = [2, 2, 35, 41];

  test.each([
    [[1]],
    [[keys]],
    [[queries, 1]],
    [[queries, keys]],
    [[heads, 1, keys]],
    [[1, heads, 1, 1]],
    [[batch, 1, 1, keys]],
    [[batch, 1, queries, 1]],
    [[1, heads, queries, keys]],
    [[batch, 1, queries, keys]],
    [[batch, heads, queries, keys]],
  ])('masks %j', async (shape) => {
    const random = new Random(shape.length);
    const operands = randomOperands(random, { batch, heads, queries, keys });
    await expectAttention(op, { ...operands, mask: boolMask(random, shape) }, dtype);
    await expectAttention(op, { ...operands, mask: floatMask(random, shape) }, dtype);
  });

  test.each([
    [7, 7],
    [33, 40],
    [40, 33],
    [3, 70],
    [70, 3],
  ])('causal in both alignments, lengths %i and %i', async (queries, keys) => {
    const operands = randomOperands(new Random(queries), { queries, keys });
    for (const isCausal of [true, 'top-left', 'bottom-right'] as const) {
      await expectAttention(op, { ...operands, isCausal }, dtype);
    }
  });

  test('masks of every kind at once', async () => {
    const random = new Random(8);
    const operands = randomOperands(random, { batch, heads, queries, keys });
    const keyMask = boolMask(random, [batch, keys], 0.7);
    const masks = [undefined, boolMask(random, [queries, keys]), floatMask(random, [batch, heads, queries, keys])];
    for (const mask of masks) {
      for (const isCausal of [false, 'top-left', 'bottom-right'] as const) {
        await expectAttention(op, { ...operands, mask, keyMask, isCausal }, dtype);
      }
    }
  });

  test('rows without keys give 0, and log-sum-exp −∞', async () => {
    const random = new Random(9);
    const operands = randomOperands(random, { batch, heads, queries, keys });
    const rows = (hidden: number, seen: number) =>
      Float32Array.from({ length: queries * keys }, (_, at) => (Math.floor(at / keys) % 2 ? hidden : seen));
    const shape = [queries, keys];
    const firstBatch = Uint8Array.from({ length: batch * keys }, (_, at) => (at < keys ? 1 : 0));
    const poisoned = { ...operands, v: map(operands.v, () => NaN) };
    const nothing = { mask: { shape: [1], data: Uint8Array.of(0) } };
    for (const [problem, empty] of [
      [{ ...operands, mask: { shape, data: Uint8Array.from(rows(0, 1)) } }, batch * heads * 17],
      [{ ...operands, mask: { shape, data: rows(-Infinity, 0) } }, batch * heads * 17],
      [{ ...operands, keyMask: { shape: [batch, keys], data: firstBatch } }, heads * queries],
      [{ ...randomOperands(random, { queries: 40, keys: 33 }), isCausal: 'bottom-right' as const }, 2 * 2 * 7],
      [{ ...poisoned, ...nothing }, batch * heads * queries],
    ] satisfies [Problem, number][]) {
      const { output, logSumExp, weights } = await expectAttention(op, problem, dtype);
      let count = 0;
      logSumExp.forEach((lse, row) => {
        if (lse !== -Infinity) return;
        count++;
        for (const values of [output, weights]) {
          if (!values) continue;
          const width = values.length / logSumExp.length;
          expect(values.subarray(row * width, (row + 1) * width).every((value) => value === 0)).toBe(true);
        }
      });
      expect(count).toBe(empty);
    }
  });
}

/** Memory layouts of [B, H, N, D]; each name says what in real code makes one. */
const LAYOUTS: Readonly<Record<string, Layout>> = {
  'a split projection': { axes: [0, 2, 1, 3] },
  'a third of a packed projection': { axes: [0, 2, 1, 3], before: [0, 2], after: [0, 2] },
  'columns outermost': { axes: [3, 0, 1, 2] },
  'transposed matrices': { axes: [0, 1, 3, 2] },
  'rows outermost': { axes: [2, 0, 1, 3] },
  'a slice that begins at an odd element': { before: [0, 0, 1, 1], after: [0, 0, 2, 3] },
  'a slice whose rows are aligned': { before: [0, 0, 0, 4], after: [0, 0, 0, 4] },
  'a slice of rows': { before: [1, 1, 3], after: [0, 0, 5] },
  'every axis permuted and sliced': { axes: [1, 3, 0, 2], before: [1, 0, 1, 3], after: [0, 1, 0, 2] },
};

function describeViews(op: AttentionOp, dtype: Float): void {
  test.each(Object.entries(LAYOUTS))('%s', async (_name, layout) => {
    const random = new Random(11);
    for (const sizes of [{ dim: 8 }, { heads: 4, kvHeads: 2, dim: 7, valueDim: 5, keys: 40 }]) {
      const operands = randomOperands(random, sizes);
      await expectAttention(op, { ...operands, layouts: { q: layout, k: layout, v: layout } }, dtype);
    }
  });

  test('q, k and v laid out each in its own way', async () => {
    const random = new Random(12);
    const layouts = Object.values(LAYOUTS);
    for (let i = 0; i < layouts.length; i++) {
      const operands = randomOperands(random, { dim: 12, valueDim: 9 });
      const [q, k, v] = [0, 2, 5].map((shift) => layouts[(i + shift) % layouts.length]);
      await expectAttention(op, { ...operands, layouts: { q, k, v } }, dtype);
    }
  });

  test('axes of length 1 with strides of any size', async () => {
    const random = new Random(13);
    const layout = { before: [1, 1, 1, 1], after: [1, 2, 2, 2] };
    for (const sizes of [
      { batch: 1, heads: 1 },
      { batch: 1, heads: 3, kvHeads: 1, queries: 1 },
      { keys: 1, dim: 1, valueDim: 1 },
    ]) {
      const operands = randomOperands(random, sizes);
      await expectAttention(op, { ...operands, layouts: { q: layout, k: layout, v: layout } }, dtype);
    }
  });

  test.each<[string, Layout]>([
    ['transposed', { axes: [0, 1, 3, 2] }],
    ['sliced at odd elements', { before: [0, 0, 1, 3], after: [0, 0, 1, 2] }],
    ['permuted and sliced', { axes: [3, 1, 0, 2], before: [1, 1, 2, 5] }],
  ])('masks %s', async (_name, layout) => {
    const random = new Random(14);
    const operands = randomOperands(random, { queries: 9, keys: 37 });
    for (const shape of [
      [2, 2, 9, 37],
      [1, 2, 1, 37],
    ]) {
      for (const mask of [boolMask(random, shape), floatMask(random, shape)]) {
        await expectAttention(op, { ...operands, mask, layouts: { mask: layout } }, dtype);
      }
    }
    const keyMask = boolMask(random, [2, 37]);
    for (const keyLayout of [{ axes: [1, 0] }, { before: [1, 3], after: [0, 2] }]) {
      await expectAttention(op, { ...operands, keyMask, layouts: { keyMask: keyLayout } }, dtype);
    }
  });
}

function describeSentinels(op: AttentionOp, dtype: Float): void {
  test.each([-1e4, -2.4e5, 1e4, 2.4e5])('all logits about %f', async (logit) => {
    // q · k = 400 · (logit / 400) + 1 · small: operands exact in float16, products and sums in float32
    const random = new Random(15);
    const [queries, keys] = [33, 70];
    const base = logit / 400;
    const rows = (count: number, first: number, second: () => number) => ({
      shape: [1, 1, count, 2],
      data: Float32Array.from({ length: 2 * count }, (_, at) => (at % 2 ? second() : first)),
    });
    const problem = {
      q: rows(queries, 400, () => 1),
      k: rows(keys, base, () => random.integer(-8, 8) / 4),
      v: { shape: [1, 1, keys, 5], data: random.normals([keys, 5]) },
      scale: 1,
    };
    await expectAttention(op, problem, dtype);
  });

  test.each([1e4, -1e4])('an outlier logit of %f', async (outlier) => {
    const random = new Random(16);
    const [queries, keys, at] = [5, 70, 37];
    const operands = randomOperands(random, { batch: 1, heads: 1, queries, keys, dim: 2, valueDim: 5 });
    const problem = {
      q: map(operands.q, (x, i) => (i % 2 ? x : 100)),
      k: map(operands.k, (x, i) => (i % 2 ? x : i === 2 * at ? outlier / 100 : 0)),
      v: operands.v,
      scale: 1,
    };
    const { output, weights } = await expectAttention(op, problem, dtype);
    expect(weights?.[at] ?? Number(outlier > 0)).toBe(Number(outlier > 0));
    if (outlier < 0) return;
    const values = stored(problem.v, dtype).data;
    output.forEach((x, i) => expect(x).toBe(values[at * 5 + (i % 5)]));
  });

  test('float masks of −1e4 and of the lowest number', async () => {
    const random = new Random(17);
    const operands = randomOperands(random, { queries: 5, keys: 40 });
    const lowest = dtype === 'float32' ? -3.4028234663852886e38 : -65504;
    const lower = (value: number, share: number) => ({
      shape: [5, 40],
      data: Float32Array.from({ length: 200 }, () => (random.uniform() < share ? value : 0)),
    });
    await expectAttention(op, { ...operands, mask: lower(-1e4, 1) }, dtype, { isFar: true });
    await expectAttention(op, { ...operands, mask: lower(-1e4, 0.5) }, dtype);
    await expectAttention(op, { ...operands, mask: lower(lowest, 0.5) }, dtype);
    // next to −3e38 the scores vanish: every key weighs the same
    const uniform = { ...operands, mask: lower(lowest, 1) };
    if (dtype === 'float16') return void (await expectAttention(op, uniform, dtype, { isFar: true }));
    const { output } = await runAttention(op, uniform, dtype);
    const mean = await runAttention(op, { ...operands, scale: 0 }, dtype);
    output.forEach((value, i) => expect(value).toBeCloseTo(mean.output[i], 5));
  });

  test.each(POISON)('a masked key that holds %f never leaks', async (value) => {
    const random = new Random(18);
    const [queries, keys, hidden] = [35, 41, 38];
    const operands = randomOperands(random, { queries, keys });
    const poison = (array: HostArray) => map(array, (x, at) => (Math.floor(at / 8) % keys === hidden ? value : x));
    const hide = <T extends Float32Array | Uint8Array>(data: T, to: number) => {
      for (let at = hidden; at < data.length; at += keys) data[at] = to;
      return data;
    };
    const problem = { ...operands, k: poison(operands.k), v: poison(operands.v) };
    const [pairs, padding] = [queries * keys, 2 * keys];
    await expectAttention(op, { ...problem, isCausal: 'top-left' }, dtype);
    for (const masks of [
      { mask: { shape: [queries, keys], data: hide(new Uint8Array(pairs).fill(1), 0) } },
      { mask: { shape: [queries, keys], data: hide(random.normals([pairs]), -Infinity) } },
      { keyMask: { shape: [2, keys], data: hide(new Uint8Array(padding).fill(1), 0) } },
    ]) {
      await expectAttention(op, { ...problem, ...masks }, dtype);
    }
    // only odd rows see the key: even ones must not notice it
    const seen = Uint8Array.from({ length: pairs }, (_, at) => (at % keys === hidden ? Math.floor(at / keys) % 2 : 1));
    const masks = { mask: { shape: [queries, keys], data: seen } };
    const expected = referenceAttention({ ...operands, ...masks }, dtype).output.data;
    const { output } = await runAttention(op, { ...problem, ...masks }, dtype);
    for (let at = 0; at < output.length; at += 8) {
      const row = output.subarray(at, at + 8);
      if (((at / 8) % queries) % 2 === 0) {
        expectClose(row, expected.subarray(at, at + 8), tolerances[dtype].attention, `row ${at / 8}`);
      } else if (Number.isNaN(value)) {
        expect(row.every(Number.isNaN)).toBe(true);
      }
    }
  });

  test('a row of NaN in the query spoils no other row', async () => {
    const operands = randomOperands(new Random(19), { queries: 35, keys: 41 });
    const isSpoilt = (row: number) => row % 35 === 7;
    const spoilt = map(operands.q, (x, at) => (isSpoilt(Math.floor(at / 8)) ? NaN : x));
    for (const isCausal of [false, true]) {
      const clean = await runAttention(op, { ...operands, isCausal }, dtype);
      const { output, logSumExp, weights } = await runAttention(op, { ...operands, q: spoilt, isCausal }, dtype);
      const rows = (values: Float32Array, width: number) =>
        Array.from({ length: values.length / width }, (_, row) => values.subarray(row * width, (row + 1) * width));
      rows(output, 8).forEach((values, row) => {
        if (isSpoilt(row)) expect(values.every(Number.isNaN)).toBe(true);
        else expect(values).toEqual(rows(clean.output, 8)[row]);
      });
      // SwiftShader's exp and log of NaN are numbers; a row that has keys must still not pass for one without
      logSumExp.forEach((lse, row) => {
        if (isSpoilt(row)) expect(lse).not.toBe(-Infinity);
        else expect(lse).toBe(clean.logSumExp[row]);
      });
      if (!weights) continue;
      rows(weights, 41).forEach((values, row) => {
        if (!isSpoilt(row)) expect(values).toEqual(rows(clean.weights!, 41)[row]);
      });
    }
  });

  test('NaN and infinity in a value that is attended to propagate', async () => {
    const operands = randomOperands(new Random(20), { batch: 1, heads: 1, queries: 5, keys: 41 });
    const { output } = await runAttention(op, operands, dtype);
    for (const value of [NaN, Infinity]) {
      // key 35, column 3
      const v = map(operands.v, (x, at) => (at === 35 * 8 + 3 ? value : x));
      const spoilt = await runAttention(op, { ...operands, v }, dtype);
      spoilt.output.forEach((x, at) => {
        if (at % 8 !== 3) expect(x).toBeCloseTo(output[at], 4);
        // storing an infinity as float16 is left to the driver, and SwiftShader makes it NaN
        else if (dtype === 'float16' && value === Infinity) expect(Number.isFinite(x)).toBe(false);
        else expect(x).toBe(value);
      });
    }
  });
}

function describeResults(op: AttentionOp): void {
  test('are the same bits each time', async () => {
    const random = new Random(21);
    const operands = randomOperands(random, { queries: 70, keys: 130, valueDim: 33 });
    const problem = { ...operands, mask: boolMask(random, [70, 130]) };
    for (const dtype of DTYPES) {
      const first = await runAttention(op, problem, dtype);
      for (let i = 0; i < 3; i++) expect(await runAttention(op, problem, dtype)).toEqual(first);
    }
  });

  test('are only those asked for', async () => {
    const device = await testDevice();
    device.scope(() => {
      const x = device.randn([1, 1, 5, 8]);
      expect(Object.keys(call(op, x, x, x))).toEqual(['output']);
      expect(Object.keys(call(op, x, x, x, { returnLogSumExp: true })).sort()).toEqual(['logSumExp', 'output']);
    });
  });

  test('leave live memory as it was once they are disposed', async () => {
    const device = await testDevice();
    const { live } = device.memory();
    const random = new Random(22);
    const problem = { ...randomOperands(random), mask: floatMask(random, [9, 13]), keyMask: boolMask(random, [2, 13]) };
    for (const dtype of DTYPES) {
      const results = enqueueAttention(device, op, problem, dtype);
      expect(device.memory().live).toBeGreaterThan(live);
      for (const tensor of Object.values(results)) tensor.dispose();
      expect(device.memory().live).toBe(live);
    }
    await device.sync();
    expect(device.memory().live).toBe(live);
  });

  test.each(DTYPES)('of a split projection in %s merge back without a copy', async (dtype) => {
    const device = await testDevice();
    const [batch, heads, length, dim] = [2, 3, 9, 8];
    const layout = { axes: [0, 2, 1, 3] };
    const problem = randomOperands(new Random(23), { batch, heads, queries: length, keys: length, dim });
    const { output, merged } = device.scope(() => {
      const layouts = { q: layout, k: layout, v: layout };
      const { output } = enqueueAttention(device, op, { ...problem, layouts }, dtype);
      return { output, merged: output.transpose(1, 2).reshape([batch, length, heads * dim]) };
    });
    expect(merged.isContiguous).toBe(true);
    const [byHead, byRow] = await Promise.all([output.data(), merged.data()]);
    byHead.forEach((value, at) => {
      const [head, row] = [Math.floor(at / (dim * length)) % heads, Math.floor(at / dim) % length];
      const n = Math.floor(at / (dim * length * heads));
      expect(byRow[((n * length + row) * heads + head) * dim + (at % dim)]).toBe(value);
    });
    output.dispose();
    merged.dispose();
  });

  test('compile nothing new for other lengths, head dims and options', async () => {
    const device = await testDevice();
    const random = new Random(24);
    // a GPU takes smaller tiles for few rows
    for (const queries of [11, 70]) {
      await runAttention(op, randomOperands(random, { queries, dim: 37, valueDim: 40 }), 'float32');
    }
    const { pipelines } = device.runtime.counters();
    for (const sizes of [
      { queries: 11, keys: 1, dim: 33, valueDim: 33 },
      // more queries than a tile has on any subgroup size: fewer of grouped heads share tiles, which is another kernel
      { queries: 70, keys: 65, dim: 63, valueDim: 64, heads: 4, kvHeads: 2 },
      { batch: 1, heads: 1, queries: 70, keys: 3, dim: 62, valueDim: 48 },
    ]) {
      const operands = randomOperands(random, sizes);
      const [batch, , queries] = operands.q.shape;
      const [, , keys] = operands.k.shape;
      for (const options of [
        {},
        { isCausal: true, scale: 0.3 },
        { mask: boolMask(random, [queries, keys]), isCausal: 'bottom-right' as const },
        { mask: floatMask(random, [keys]), keyMask: boolMask(random, [batch, keys]) },
        { layouts: { k: { axes: [3, 0, 2, 1] }, v: { before: [0, 0, 0, 1] } }, window: { left: 2, right: 3 } },
      ]) {
        const results = enqueueAttention(device, op, { ...operands, ...options }, 'float32');
        for (const tensor of Object.values(results)) tensor.dispose();
      }
    }
    await device.sync();
    expect(device.runtime.counters().pipelines).toBe(pipelines);
  });

  test('of more workgroups than one dimension holds', async () => {
    const device = await testDevice();
    await withWorkgroupLimit(device, 5, async () => {
      for (const [batch, heads] of [
        [1, 5],
        [2, 3],
        [11, 1],
        [5, 4],
      ]) {
        const operands = randomOperands(new Random(batch), { batch, heads, queries: 3, keys: 5, dim: 4 });
        await expectAttention(op, operands, 'float32');
      }
    });
  });
}
