import { f16round } from '@petamoriken/float16';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  clone,
  concat,
  flashAttention,
  KeyValueCache,
  type Device,
  type KeyValueCacheOptions,
  type Tensor,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { IS_MATRIX } from '../matrix/narrow.ts';
import { withWorkgroupLimit } from '../ops/attention/workgroup-limit.ts';
import type { Float } from '../ops/upload.ts';
import { Random } from '../random.ts';
import { SlotModel, tokenOf, type RotaryTables } from '../reference/cache.ts';
import { expectClose } from '../reference/compare.ts';
import { tolerances } from '../reference/tolerances.ts';
import {
  appending,
  clear,
  deviceTables,
  expectStorage,
  hostTables,
  LAYOUTS,
  newRows,
  type Sizes,
} from './cache-run.ts';

let device: Device;
let liveBefore: number;
let cache: KeyValueCache;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterEach(() => {
  cache?.dispose();
  expect(device.memory().live).toBe(liveBefore);
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const SIZES: Sizes = { batch: 2, kvHeads: 3, dim: 7, valueDim: 5 };
const random = new Random(11);

function cacheOf(
  options: Partial<KeyValueCacheOptions> = {},
  { batch, kvHeads, dim, valueDim } = SIZES,
): KeyValueCache {
  const sizes = { batch, numKvHeads: kvHeads, headDim: dim, valueDim };
  const made = new KeyValueCache(device, { ...sizes, capacity: 10, dtype: 'float32', ...options });
  clear(device, made.keys, made.values);
  return made;
}

/** Appends random rows in pieces of these lengths to a cache and to its model, and compares them at the end. */
async function fill(
  target: KeyValueCache,
  model: SlotModel,
  lengths: readonly number[],
  given: { dtype?: Float; inDType?: Float; sizes?: Sizes; tables?: RotaryTables } = {},
): Promise<void> {
  const { dtype = 'float32', inDType = dtype, sizes = SIZES, tables } = given;
  const rotary = tables && deviceTables(device, tables);
  for (const [step, length] of lengths.entries()) {
    const rows = newRows(random, sizes, length, inDType);
    for (let n = 0; n < length; n++) model.append(tokenOf(rows.k, rows.v, n, target.position + n, tables));
    appending(device, rows, inDType, (k, v) => target.append(k, v, { rotary }), LAYOUTS[step % LAYOUTS.length]);
  }
  rotary?.cos.dispose();
  rotary?.sin.dispose();
  const slots = Array.from({ length: target.capacity }, (_, slot) => model.slots[slot]);
  await expectStorage(target, slots, sizes, { dtype, isRotated: tables !== undefined });
}

describe.each<[Float, Float]>([
  ['float32', 'float32'],
  ['float16', 'float16'],
  ['float16', 'float32'],
  ['float32', 'float16'],
])('a cache of %s, given %s', (dtype, inDType) => {
  test.each<[string, Sizes]>([
    ['several heads, odd dims', SIZES],
    ['one head of one element', { batch: 1, kvHeads: 1, dim: 1, valueDim: 1 }],
    ['even dims', { batch: 3, kvHeads: 1, dim: 8, valueDim: 16 }],
    ['values wider than keys', { batch: 1, kvHeads: 2, dim: 3, valueDim: 40 }],
  ])('%s: rows lie one behind the other, whatever their strides', async (_name, sizes) => {
    cache = cacheOf({ dtype, capacity: 12 }, sizes);
    await fill(cache, new SlotModel(12, 0), [3, 1, 4, 1, 2], { dtype, inDType, sizes });
    expect([cache.length, cache.position, cache.capacity]).toEqual([11, 11, 12]);
  });

  test.each([
    ['half-split', false, 6],
    ['interleaved', true, 6],
    ['half-split, all but the last element', false, 4],
    ['interleaved, the first pair', true, 2],
  ])('keys rotated, %s', async (_name, interleaved, rotated) => {
    cache = cacheOf({ dtype, capacity: 9, eviction: 'sliding', sinks: 2 });
    const tables = hostTables(20, rotated, interleaved);
    await fill(cache, new SlotModel(9, 2), [4, 1, 3, 3, 1, 1], { dtype, inDType, tables });
  });
});

test('numbers that are not finite, or too large for float16, are stored as a conversion would store them', async () => {
  const values = [NaN, Infinity, -Infinity, 1e-40, 65519, 65520, -1e6];
  const shape = [1, 1, 1, values.length];
  const sizes: Sizes = { batch: 1, kvHeads: 1, dim: values.length, valueDim: values.length };
  const rows = { shape, data: Float32Array.from(values) };
  for (const [dtype, wanted] of [
    ['float32', Float32Array.from(values)],
    ['float16', Float32Array.from(values, f16round)],
  ] as const) {
    using stores = cacheOf({ dtype, capacity: 1 }, sizes);
    appending(device, { k: rows, v: rows }, 'float32', (k, v) => stores.append(k, v));
    expect(await stores.values.data()).toEqual(wanted);
    expect(await stores.keys.data()).toEqual(wanted);
  }
});

test('the padding of an odd float16 row is zero, whatever lies behind the row that was given', async () => {
  const sizes: Sizes = { batch: 1, kvHeads: 1, dim: 3, valueDim: 5 };
  cache = cacheOf({ dtype: 'float16', capacity: 2 }, sizes);
  await fill(cache, new SlotModel(2, 0), [1, 1], { dtype: 'float16', inDType: 'float32', sizes });
  cache.reset();
  const rows = newRows(random, sizes, 2, 'float16');
  appending(device, rows, 'float16', (k, v) => cache.append(k, v), { after: [0, 0, 0, 2] });
  for (const [tensor, width] of [
    [cache.keys, 4],
    [cache.values, 6],
  ] as const) {
    const bytes = await device.runtime.read(tensor.storage('test'), 0, 4 * width);
    const stored = new Uint16Array(bytes);
    expect([stored[width - 1], stored[2 * width - 1]]).toEqual([0, 0]);
    expect(stored[0]).not.toBe(0);
  }
});

describe('eviction', () => {
  test.each<[sinks: number, lengths: number[]]>([
    [0, [4, 5, 1]],
    [0, [4, 5, 1, 1, 1, 3]],
    [0, [10, 10, 7]],
    [0, [9, 4]],
    [0, [23]],
    [1, [3, 40]],
    [4, [3, 3, 3, 3, 3, 3]],
    [4, [2, 25]],
    [4, [25, 25]],
    [4, [10, 6, 1]],
    [9, [9, 1, 1, 5]],
    [9, [30]],
  ])('%d sinks, appends of %j', async (sinks, lengths) => {
    cache = cacheOf({ eviction: 'sliding', sinks });
    await fill(cache, new SlotModel(10, sinks), lengths);
    const total = lengths.reduce((sum, length) => sum + length, 0);
    expect([cache.length, cache.position]).toEqual([Math.min(10, total), total]);
  });

  test('of one slot', async () => {
    cache = cacheOf({ capacity: 1, eviction: 'sliding' });
    await fill(cache, new SlotModel(1, 0), [1, 5, 1]);
  });
});

describe('growth', () => {
  test.each<Float>(['float32', 'float16'])('%s: nothing is lost, pending work reads what it was to', async (dtype) => {
    cache = cacheOf({ dtype, capacity: 3, growth: 'double' });
    const model = new SlotModel(3, 0);
    await fill(cache, model, [3], { dtype });
    const before = { keys: clone(cache.keys), values: clone(cache.values) };
    model.capacity = 24;
    const rows = newRows(random, SIZES, 10, dtype);
    for (let n = 0; n < 10; n++) model.append(tokenOf(rows.k, rows.v, n, 3 + n));
    appending(device, rows, dtype, (k, v) => cache.append(k, v));
    expect([cache.length, cache.capacity]).toEqual([13, 24]);
    const stale = model.slots.slice(0, 3);
    await expectStorage(before, stale, SIZES, { dtype });
    before.keys.dispose();
    before.values.dispose();
    const held = device.scope(() => ({ keys: cache.keys.slice(2, 0, 13), values: cache.values.slice(2, 0, 13) }));
    await expectStorage(held, model.slots, SIZES, { dtype });
    held.keys.dispose();
    held.values.dispose();
  });

  test('of an empty cache', async () => {
    cache = cacheOf({ capacity: 1, growth: 'double' });
    await fill(cache, new SlotModel(8, 0), [8]);
    expect(cache.capacity).toBe(8);
  });

  test('beyond the device’s memory is refused, and the cache is as it was', async () => {
    const capacity = 2 ** 20;
    cache = new KeyValueCache(device, { batch: 1, numKvHeads: 1, headDim: 1, capacity, growth: 'double' });
    device.scope(() => {
      const huge = device.zeros([1, 1, 1, 1]).expand([1, 1, 2 ** 31, 1]);
      expect(() => cache.append(huge, huge)).toThrow(/must fit the device's limit/);
    });
    expect([cache.length, cache.capacity]).toEqual([0, capacity]);
  });
});

describe('truncate', () => {
  test.each<[string, Partial<KeyValueCacheOptions>, number[], number]>([
    ['a fixed cache', {}, [5, 4], 3],
    ['to nothing', {}, [10], 0],
    ['to all', {}, [4], 4],
    ['a ring that is not full', { eviction: 'sliding', sinks: 2 }, [9], 1],
    ['a ring that has evicted', { eviction: 'sliding', sinks: 2 }, [10, 6, 3], 7],
    ['a ring down to its sinks', { eviction: 'sliding', sinks: 2 }, [15], 2],
    ['a ring without sinks', { eviction: 'sliding' }, [10, 13], 4],
  ])('%s: what follows takes the place of what was dropped', async (_name, options, lengths, length) => {
    const model = new SlotModel(10, options.sinks ?? 0);
    cache = cacheOf(options);
    await fill(cache, model, lengths);
    const { length: held, position } = cache;
    cache.truncate(length);
    expect([cache.length, cache.position]).toEqual([length, position - held + length]);
    await fill(cache, model, [1]);
    expect(cache.length).toBe(length + 1);
    if (options.eviction) await fill(cache, model, [4, 9]);
    else await fill(cache, model, [10 - cache.length]);
    expect(cache.length).toBe(10);
  });

  test.runIf(IS_MATRIX)('attention sees the keys that are left, oldest first', async () => {
    cache = cacheOf({ capacity: 10, eviction: 'sliding', sinks: 2 });
    const [k, v] = [device.randn([2, 3, 13, 7], { seed: 1 }), device.randn([2, 3, 13, 5], { seed: 2 })];
    const q = device.randn([2, 3, 2, 7], { seed: 3 });
    const found = device.scope(() => {
      cache.append(k, v); // holds positions 0, 1, 5, …, 12
      cache.truncate(6); // 0, 1, 5, …, 8
      cache.append(k.slice(2, 0, 2), v.slice(2, 0, 2));
      return cache.attend(q).output;
    });
    const wanted = device.scope(() => {
      const left = (rows: Tensor) =>
        concat(concat(rows.slice(2, 0, 2), rows.slice(2, 5, 9), 2), rows.slice(2, 0, 2), 2);
      return flashAttention(q, left(k), left(v), { isCausal: 'bottom-right' }).output;
    });
    expectClose(await found.data(), await wanted.data(), tolerances.float32.attention, 'output');
    for (const tensor of [k, v, q, found, wanted]) tensor.dispose();
  });

  test('what cannot be kept is refused', async () => {
    cache = cacheOf({ eviction: 'sliding', sinks: 2 });
    await fill(cache, new SlotModel(10, 2), [6]);
    for (const length of [7, -1, 2.5, '3']) {
      expect(() => cache.truncate(length as number)).toThrow(
        'KeyValueCache.truncate: length must be an integer from 0 to the 6 keys held, got',
      );
    }
    expect([cache.length, cache.position]).toEqual([6, 6]);
    cache.reset();
    clear(device, cache.keys, cache.values);
    await fill(cache, new SlotModel(10, 2), [13]);
    expect(() => cache.truncate(1)).toThrow('length must be an integer from 2 to the 10 keys held, got 1');
    cache.dispose();
    expect(() => cache.truncate(2)).toThrow('KeyValueCache.truncate: the cache must not be disposed');
  });
});

test('reset forgets the keys and keeps the storage', async () => {
  cache = cacheOf({ eviction: 'sliding', sinks: 2 });
  const { keys } = cache;
  await fill(cache, new SlotModel(10, 2), [13]);
  cache.reset();
  expect([cache.length, cache.position]).toEqual([0, 0]);
  expect(cache.keys).toBe(keys);
  clear(device, cache.keys, cache.values);
  await fill(cache, new SlotModel(10, 2), [2, 1]);
});

test('of more workgroups than one dimension holds', async () => {
  await withWorkgroupLimit(device, 5, async () => {
    cache = cacheOf({ capacity: 20 });
    await fill(cache, new SlotModel(20, 0), [17]);
  });
});

test('in the steady state an append is one dispatch and makes no buffer, pipeline or bind group', async () => {
  cache = cacheOf({ eviction: 'sliding', sinks: 2 });
  const tables = device.scope(() => deviceTables(device, hostTables(64, 4, true)));
  const [k, v] = [device.randn([2, 3, 1, 7]), device.randn([2, 3, 1, 5])];
  const step = () => cache.append(k, v, { rotary: tables });
  step();
  device.flush();
  const bindGroups = vi.spyOn(device.gpu, 'createBindGroup');
  const before = device.runtime.counters();
  for (let i = 0; i < 20; i++) step();
  expect(device.runtime.counters()).toEqual({ ...before, dispatches: before.dispatches + 20 });
  expect(bindGroups).not.toHaveBeenCalled();
  bindGroups.mockRestore();
  for (const tensor of [k, v, tables.cos, tables.sin]) tensor.dispose();
});

test('another length, position, kind of rotation or eviction compiles nothing', async () => {
  cache = cacheOf();
  await fill(cache, new SlotModel(10, 0), [3]);
  cache.dispose();
  const { pipelines } = device.runtime.counters();
  for (const interleaved of [true, false]) {
    cache = cacheOf({ eviction: 'sliding', sinks: 1, capacity: 6 });
    await fill(cache, new SlotModel(6, 1), [2, 9], { tables: hostTables(11, 6, interleaved) });
    cache.dispose();
  }
  expect(device.runtime.counters().pipelines).toBe(pipelines);
});

test('it outlives the scope that it is made in', () => {
  const made = device.scope(() => {
    cache = cacheOf();
    return undefined;
  });
  expect(made).toBeUndefined();
  expect(cache.keys.disposed).toBe(false);
});

describe('bad input', () => {
  test.each<[string, Partial<Record<keyof KeyValueCacheOptions, unknown>>, string]>([
    ['batch', { batch: 0 }, 'batch must be an integer of 1 or more, got 0'],
    ['capacity', { capacity: 2.5 }, 'capacity must be an integer of 1 or more, got 2.5'],
    ['heads', { numKvHeads: '2' }, "numKvHeads must be an integer of 1 or more, got '2'"],
    ['headDim', { headDim: undefined }, 'headDim must be an integer of 1 or more, got undefined'],
    ['valueDim', { valueDim: -1 }, 'valueDim must be an integer of 1 or more, got -1'],
    ['dtype', { dtype: 'bool' }, "dtype must be 'float32' or 'float16' or 'int8' or 'int4', got 'bool'"],
    ['eviction', { eviction: 'lru' }, "eviction must be 'none' or 'sliding', got 'lru'"],
    ['growth', { growth: 2 }, "growth must be 'error' or 'double', got 2"],
    ['sinks alone', { sinks: 2 }, "sinks must come with eviction 'sliding', got 2 without"],
    ['no ring', { eviction: 'sliding', sinks: 10 }, 'sinks must be below the capacity 10, got 10'],
    ['both', { eviction: 'sliding', growth: 'double' }, "growth must be 'error' if keys are evicted, got 'double'"],
    ['a typo', { evict: 'sliding' } as object, "unknown option 'evict'"],
  ])('%s is refused', (_name, options, message) => {
    expect(() => cacheOf(options as Partial<KeyValueCacheOptions>)).toThrow(`KeyValueCache: ${message}`);
  });

  test('storage that exceeds the budget leaves nothing behind', () => {
    expect(() => cacheOf({ capacity: 2 ** 40 })).toThrow(/^KeyValueCache: a float32 tensor of shape/);
  });

  test('what does not fit is refused, and the cache is as it was', async () => {
    cache = cacheOf();
    const model = new SlotModel(10, 0);
    await fill(cache, model, [6]);
    device.scope(() => {
      const k = device.randn([2, 3, 4, 7]);
      const v = device.randn([2, 3, 4, 5]);
      const [cos, sin] = [device.randn([10, 3]), device.randn([10, 3])];
      const refuse = (
        message: string,
        ...[key = k, value = v, options]: Partial<Parameters<KeyValueCache['append']>>
      ) => expect(() => cache.append(key, value, options)).toThrow(`KeyValueCache.append: ${message}`);
      const disposed = device.randn([2, 3, 4, 7]);
      disposed.dispose();
      refuse('key must be a Tensor, got 3', 3 as never);
      refuse('key must not be disposed', disposed);
      refuse('value must be float32 or float16, got int32', k, device.tensor(new Int32Array(120), [2, 3, 4, 5]));
      refuse('key must have shape [2, 3, length, 7], got [2, 4, 7]', k.slice(1, 0, 1).reshape([2, 4, 7]));
      refuse('key must have shape [2, 3, length, 7], got [1, 3, 4, 7]', k.slice(0, 1));
      refuse('value must have shape [2, 3, length, 5], got [2, 3, 4, 7]', k, k);
      refuse("value length must equal key's 4, got 3", k, v.slice(2, 1));
      refuse("value must have key's dtype float32, got float16", k, device.zeros([2, 3, 4, 5], { dtype: 'float16' }));
      refuse('key must not be a view of the cache, got one', cache.keys.slice(2, 0, 4));
      refuse("unknown option 'rotry'", k, v, { rotry: 1 } as never);
      refuse('rotary must be a RotaryEmbedding or tables { cos, sin }, got 5', k, v, { rotary: 5 as never });
      refuse('rotary.cos must be a Tensor, got undefined', k, v, { rotary: {} as never });
      refuse('rotary.sin must be float32 of two axes', k, v, { rotary: { cos, sin: cos.reshape([30]) } });
      refuse("rotary.sin must have cos's shape [10, 3]", k, v, { rotary: { cos, sin: sin.slice(0, 1) } });
      refuse('rotary.interleaved must be true or false', k, v, { rotary: { cos, sin, interleaved: 1 as never } });
      const wide = device.randn([10, 4]);
      refuse('rotary.cos must have at most 3 columns, half the headDim, got 4', k, v, {
        rotary: { cos: wide, sin: wide },
      });
      const short = device.randn([9, 3]);
      refuse('rotary must have tables of at least 10 positions, got 9', k, v, {
        rotary: { cos: short, sin: short },
      });
      const [moreKeys, moreValues] = [device.randn([2, 3, 5, 7]), device.randn([2, 3, 5, 5])];
      refuse('key must fit the capacity of 10 keys, of which 6 are taken, got 5 more', moreKeys, moreValues);
    });
    expect([cache.length, cache.position]).toEqual([6, 6]);
    await fill(cache, model, [4]);
  });

  test('use after dispose is refused, and disposing again does nothing', () => {
    cache = cacheOf();
    cache.dispose();
    cache.dispose();
    expect(cache.disposed).toBe(true);
    device.scope(() => {
      const [k, v] = [device.randn([2, 3, 1, 7]), device.randn([2, 3, 1, 5])];
      expect(() => cache.append(k, v)).toThrow('KeyValueCache.append: the cache must not be disposed');
    });
    expect(() => cache.reset()).toThrow('KeyValueCache.reset: the cache must not be disposed');
  });
});
