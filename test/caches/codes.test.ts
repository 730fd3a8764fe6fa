/** Caches that keep keys and values as codes with scales. */
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  type AttentionResult,
  type CacheDType,
  type Device,
  KeyValueCache,
  type KeyValueCacheOptions,
  PagedKeyValueCache,
  type Tensor,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { describeInMatrix, narrow } from '../matrix/narrow.ts';
import { kernelsOf, pinKernel, skipTilesOnWideSubgroups } from '../ops/attention/pinned.ts';
import { type Float, stored, upload } from '../ops/upload.ts';
import { Random } from '../random.ts';
import { attention } from '../reference/attention.ts';
import { type CodedDType, decode, groupsOf, hadamard } from '../reference/codes.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { rotaryEmbedding } from '../reference/rotary-embedding.ts';
import { tolerances } from '../reference/tolerances.ts';
import { appending, deviceTables, hostTables, newRows } from './cache-run.ts';

const device: Device = await testDevice();
let liveBefore: number;
beforeAll(() => {
  liveBefore = device.memory().live;
});
afterEach(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(14);
const [BATCH, HEADS, KV_HEADS] = [2, 4, 2];

interface Format {
  readonly dim: number;
  readonly valueDim: number;
  readonly dtype: CacheDType;
  readonly valueDType: CacheDType;
  readonly hadamard?: boolean;
}

function optionsOf({ dim, valueDim, dtype, valueDType, hadamard }: Format) {
  return { numKvHeads: KV_HEADS, headDim: dim, valueDim, dtype, valueDType, hadamard };
}

/** What a cache's storage holds, as the numbers that attention takes it for. */
async function contentsOf(cache: { readonly keys: Tensor; readonly values: Tensor }, format: Format) {
  const [k, v] = await Promise.all([
    numbersOf(cache.keys, format.dim, format.dtype),
    numbersOf(cache.values, format.valueDim, format.valueDType),
  ]);
  // the matrix is its own inverse
  return { k: format.hadamard ? hadamard(k) : k, v };
}

async function numbersOf(tensor: Tensor, dim: number, dtype: CacheDType): Promise<HostArray> {
  const data = await tensor.data();
  if (data instanceof Uint32Array) return decode(data, tensor.shape, dim, dtype as CodedDType);
  return { shape: tensor.shape, data };
}

/** Rows that `places` names of each batch entry and head: pairs of a block and a slot. */
function gather({ shape, data }: HostArray, places: readonly (readonly (readonly [number, number])[])[]): HostArray {
  const [, heads, slots, dim] = shape;
  const rows = places.flatMap((entry) =>
    Array.from({ length: heads }, (_, head) =>
      entry.map(([block, slot]) => {
        const begin = ((block * heads + head) * slots + slot) * dim;
        return Array.from({ length: dim }, (_unused, i) => data[begin + i]);
      }),
    ),
  );
  return { shape: [places.length, heads, places[0].length, dim], data: rows.flat(2) };
}

async function numbers(attended: AttentionResult) {
  const [output, logSumExp] = await Promise.all([attended.output.data(), attended.logSumExp!.data()]);
  attended.output.dispose();
  attended.logSumExp!.dispose();
  return { output, logSumExp };
}

function expectAttention(
  got: Awaited<ReturnType<typeof numbers>>,
  q: HostArray,
  k: HostArray,
  v: HostArray,
  dtype: Float,
  isTransformed = false,
): void {
  const wanted = attention(q, k, v, { isCausal: 'bottom-right' });
  expectClose(got.output, wanted.output.data, tolerances[dtype].attention, 'output');
  // queries that were multiplied are rounded to float16 once more
  const isRounded = isTransformed && dtype === 'float16';
  const tolerance = isRounded ? tolerances.float16.attention : tolerances[dtype].logSumExp;
  expectClose(got.logSumExp, wanted.logSumExp.data, tolerance, 'log-sum-exp');
}

const small = { dim: 7, valueDim: 5 };
const wide = { dim: 64, valueDim: 64 };
/** The last group of four bits is shorter; value dims take two launches. */
const ragged = { dim: 80, valueDim: 300 };

const FORMATS: readonly Format[] = narrow<Format>(
  [{ dim: 36, valueDim: 5, dtype: 'int4', valueDType: 'int8', hadamard: true }],
  [
    { ...wide, dtype: 'int8', valueDType: 'int8' },
    { ...ragged, dtype: 'int4', valueDType: 'int8' },
    { ...ragged, dtype: 'int8', valueDType: 'int4' },
    { ...small, dtype: 'int4', valueDType: 'int4' },
    { ...wide, dtype: 'int4', valueDType: 'int4', hadamard: true },
    { dim: 36, valueDim: 5, dtype: 'int4', valueDType: 'int8', hadamard: true },
    { ...small, dtype: 'float32', valueDType: 'int8' },
    { ...small, dtype: 'float16', valueDType: 'int8' },
    { ...small, dtype: 'int8', valueDType: 'float16' },
    { ...small, dtype: 'float32', valueDType: 'float16' },
  ],
);

describe.each(FORMATS)('keys of $dtype and $dim, values of $valueDType and $valueDim, hadamard $hadamard', (format) => {
  const { dim, valueDim } = format;
  const sizes = { batch: BATCH, kvHeads: KV_HEADS, dim, valueDim };

  test('attention is that of the numbers that are stored', async () => {
    using cache = new KeyValueCache(device, { ...optionsOf(format), batch: BATCH, capacity: 8, growth: 'double' });
    const steps = [
      [9, 'float32'],
      [1, 'float32'],
      [9, 'float16'],
      [1, 'float16'],
    ] as const;
    for (const [length, queryDType] of narrow(steps.slice(0, 2), steps)) {
      appending(device, newRows(random, sizes, length, 'float32'), 'float32', (k, v) => cache.append(k, v));
      const shape = [BATCH, HEADS, length, dim];
      const q = stored({ shape, data: random.normals(shape) }, queryDType);
      const got = await numbers(
        device.scope(() => cache.attend(upload(device, q, queryDType), { returnLogSumExp: true })),
      );
      const places = Array.from({ length: BATCH }, (_, b) =>
        Array.from({ length: cache.length }, (_unused, slot) => [b, slot] as const),
      );
      const { k, v } = await contentsOf(cache, format);
      expectAttention(got, q, gather(k, places), gather(v, places), queryDType, format.hadamard);
    }
  });

  test('sliding, and rotated', async () => {
    const host = hostTables(40, Math.min(6, dim), false);
    const rotary = deviceTables(device, host);
    using _cos = rotary.cos;
    using _sin = rotary.sin;
    using cache = new KeyValueCache(device, {
      ...optionsOf(format),
      batch: BATCH,
      capacity: 6,
      eviction: 'sliding',
      sinks: 1,
    });
    for (const length of [5, 4]) {
      appending(device, newRows(random, sizes, length, 'float32'), 'float32', (k, v) => cache.append(k, v, { rotary }));
    }
    const shape = [BATCH, HEADS, 1, dim];
    const q = { shape, data: Float32Array.from(random.normals(shape)) };
    const got = await numbers(
      device.scope(() => cache.attend(upload(device, q, 'float32'), { rotary, returnLogSumExp: true })),
    );
    const rotated = rotaryEmbedding(q, host.cos, host.sin, { position: () => 8, interleaved: false });
    const places = Array.from({ length: BATCH }, (_, b) => [0, 4, 5, 1, 2, 3].map((slot) => [b, slot] as const));
    const { k, v } = await contentsOf(cache, format);
    expectAttention(got, rotated, gather(k, places), gather(v, places), 'float32');
  });

  test('pages: forked, copied on writing, and grown', async () => {
    using cache = new PagedKeyValueCache(device, {
      ...optionsOf(format),
      numPages: 2,
      pageSize: 4,
      growth: 'double',
    });
    const append = (ids: readonly number[], length: number) =>
      appending(device, newRows(random, { ...sizes, batch: ids.length }, length, 'float32'), 'float32', (k, v) =>
        cache.append(ids, k, v),
      );
    const first = cache.add();
    append([first], 6);
    const second = cache.fork(first);
    append([second, first], 3);
    const shape = [2, HEADS, 3, dim];
    const q = { shape, data: Float32Array.from(random.normals(shape)) };
    const got = await numbers(
      device.scope(() => cache.attend([first, second], upload(device, q, 'float32'), { returnLogSumExp: true })),
    );
    const places = [first, second].map((id) =>
      Array.from({ length: 9 }, (_, key) => [cache.pages(id)[Math.floor(key / 4)], key % 4] as const),
    );
    expect(new Set(places.flat().map(([page]) => page)).size).toBe(5); // one is shared
    const { k, v } = await contentsOf(cache, format);
    expectAttention(got, q, gather(k, places), gather(v, places), 'float32');
  });
});

describe.each([
  ['int8', 127, false],
  ['int4', 7, false],
  ['int4', 7, true],
] as const)('%s', (dtype, limit, isTransformed) => {
  /** Appends rows, and compares each number of the storage with the rule. */
  async function expectRounded(rows: readonly (readonly number[])[]): Promise<void> {
    const shape = [1, 1, rows.length, rows[0].length];
    const [dim] = shape.slice(3);
    using cache = new KeyValueCache(device, {
      batch: 1,
      numKvHeads: 1,
      headDim: dim,
      capacity: rows.length,
      dtype,
      hadamard: isTransformed,
    });
    const given = { shape, data: Float32Array.from(rows.flat()) };
    appending(device, { k: given, v: given }, 'float32', (k, v) => cache.append(k, v));
    for (const tensor of [cache.keys, cache.values]) {
      const { data } = isTransformed && tensor === cache.keys ? hadamard(given) : given;
      const words = (await tensor.data()) as Uint32Array;
      expect(tensor.shape).toEqual([1, 1, rows.length, words.length / rows.length]);
      for (let row = 0; row < rows.length; row++) {
        for (const group of groupsOf(words, (row * words.length) / rows.length, dim, dtype)) {
          expectGroup(group, Array.from(data.slice(row * dim + group.first)));
        }
      }
    }
  }

  function expectGroup({ scale, codes, rest }: ReturnType<typeof groupsOf>[number], data: number[]): void {
    const x = data.slice(0, codes.length);
    expect(rest).toBe(0);
    if (!x.every(Number.isFinite)) {
      expect(scale).toBeNaN();
      return;
    }
    const largest = Math.max(...x.map(Math.abs));
    if (largest < 2 ** -100) {
      expect([scale, ...codes].every((number) => number === 0)).toBe(true);
      return;
    }
    // WGSL allows a quotient 2.5 units in the last place
    expect(Math.abs(scale / (largest / limit) - 1)).toBeLessThan(2 ** -21);
    codes.forEach((code, i) => {
      const exact = (x[i] * limit) / largest;
      expect(Math.abs(code)).toBeLessThanOrEqual(limit);
      expect(Math.abs(code - exact)).toBeLessThanOrEqual(0.5 + limit * 2 ** -20);
    });
  }

  test.each(narrow([70], [1, 7, 31, 32, 33, 64, 70, 80, 256, 576]))('the nearest codes of %d numbers', async (dim) => {
    const normals = (factor: number) => random.normals([dim]).map((x) => factor * x);
    const rows = [normals(1), normals(1e4), normals(1e-20), normals(1e30)].map((row) => [...row]);
    rows[0][dim - 1] = 1e3; // an outlier
    const ramp = Array.from({ length: dim }, (_, i) => (i % (2 * limit + 1)) - limit);
    ramp[0] = limit;
    await expectRounded([...rows, ramp, ramp.map(() => 0), ramp.map((x) => x * 2 ** -120), ramp.map(() => 3)]);
  });

  test.runIf(!isTransformed)('a number that is not finite makes its group NaN, and no other', async () => {
    const row = (at: number, value: number) => Array.from({ length: 70 }, (_, i) => (i === at ? value : i - 30));
    await expectRounded([row(0, 1), row(3, NaN), row(40, Infinity), row(69, -Infinity), row(1, 2)]);
  });
});

describeInMatrix('every kernel', () => {
  describe.each(kernelsOf('flashAttention', device).filter((name) => !name.startsWith('matrix')))('%s', (kernel) => {
    pinKernel('flashAttention', kernel);
    skipTilesOnWideSubgroups(kernel.replace(/^(?:register|cache)/, 'tile'));

    test.each([
      ['int8', 'int8', wide],
      ['int4', 'int4', ragged],
      ['float16', 'int4', small],
    ] as const)('keys of %s, values of %s', async (dtype, valueDType, { dim, valueDim }) => {
      const format = { dim, valueDim, dtype, valueDType };
      using cache = new KeyValueCache(device, { ...optionsOf(format), batch: 1, capacity: 150 });
      const rows = newRows(random, { batch: 1, kvHeads: KV_HEADS, dim, valueDim }, 150, 'float32');
      appending(device, rows, 'float32', (k, v) => cache.append(k, v));
      const shape = [1, HEADS, 37, dim];
      const q = { shape, data: Float32Array.from(random.normals(shape)) };
      const got = await numbers(
        device.scope(() => cache.attend(upload(device, q, 'float32'), { returnLogSumExp: true })),
      );
      const { k, v } = await contentsOf(cache, format);
      expectAttention(got, q, k, v, 'float32');
    });
  });
});

test('queries that are multiplied have no gradient either, and say why', () => {
  using cache = new KeyValueCache(device, {
    batch: 1,
    numKvHeads: 1,
    headDim: 8,
    capacity: 4,
    dtype: 'int4',
    hadamard: true,
  });
  device.scope(() => {
    const rows = device.zeros([1, 1, 2, 8]);
    cache.append(rows, rows);
    const q = device.zeros([1, 1, 1, 8]);
    q.requiresGrad = true;
    const { output } = cache.attend(q);
    expect(() => output.backward(device.zeros(output.shape))).toThrow('keys and values must be tensors of the call');
  });
});

test.each([
  [{ hadamard: true, dtype: 'int8' }, "hadamard must come with dtype 'int4', got 'int8'"],
  [{ hadamard: 1, dtype: 'int4' }, 'hadamard must be true or false, got 1'],
  [{ valueDType: 'int2' }, "valueDType must be 'float32' or 'float16' or 'int8' or 'int4', got 'int2'"],
])('%j is refused', (options, message) => {
  const given = { batch: 1, numKvHeads: 1, headDim: 8, capacity: 4, ...options } as KeyValueCacheOptions;
  expect(() => new KeyValueCache(device, given)).toThrow(`KeyValueCache: ${message}`);
});
