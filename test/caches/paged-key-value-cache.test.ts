import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  clone,
  PagedKeyValueCache,
  type Device,
  type PagedKeyValueCacheOptions,
  type Tensor,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';
import type { Float } from '../ops/upload.ts';
import { withWorkgroupLimit } from '../ops/attention/workgroup-limit.ts';
import { Random } from '../random.ts';
import type { RotaryTables } from '../reference/cache.ts';
import { deviceTables, hostTables, LAYOUTS } from './cache-run.ts';
import { PagedRun } from './paged-run.ts';

let device: Device;
let liveBefore: number;
let run: PagedRun;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterEach(() => {
  run?.cache.dispose();
  expect(device.memory().live).toBe(liveBefore);
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const SIZES = { kvHeads: 3, dim: 7, valueDim: 5 };
const random = new Random(12);

function runOf(
  options: Partial<PagedKeyValueCacheOptions> & { readonly dtype?: Float } = {},
  tables?: RotaryTables,
): PagedRun {
  return (run = new PagedRun(device, random, SIZES, options, tables));
}

describe.each<[Float, Float]>([
  ['float32', 'float32'],
  ['float16', 'float16'],
  ['float16', 'float32'],
  ['float32', 'float16'],
])('a cache of %s, given %s', (dtype, inDType) => {
  test('sequences of different lengths, added, appended to in batches, and freed', async () => {
    const { cache } = runOf({ dtype, numPages: 9 });
    const [a, b, c] = [run.add(), run.add(), run.add()];
    run.append([a, b, c], [5, 1, 8], { inDType });
    run.append([c, a], [1, 3], { inDType, padding: 2, layout: LAYOUTS[1] });
    run.append([b], [1], { inDType, layout: LAYOUTS[2] });
    await run.expectSame();
    expect(cache.freePages).toBe(9 - 2 - 1 - 3);
    run.free(a);
    const d = run.add();
    run.append([d, b], [20, 0], { inDType, layout: LAYOUTS[3] });
    await run.expectSame();
    expect(cache.freePages).toBe(0);
  });

  test.each([true, false])('keys rotated by their positions, interleaved: %s', async (interleaved) => {
    const tables = hostTables(12, 6, interleaved);
    const rotary = device.scope(() => deviceTables(device, tables));
    runOf({ dtype }, tables);
    const [a, b] = [run.add(), run.add()];
    run.append([a, b], [3, 7], { inDType, rotary });
    run.append([b, a], [5, 1], { inDType, rotary, padding: 3 });
    await run.expectSame();
    rotary.cos.dispose();
    rotary.sin.dispose();
  });
});

describe('fork', () => {
  test.each<Float>(['float32', 'float16'])('%s: pages are shared until one of the holders writes', async (dtype) => {
    const { cache } = runOf({ dtype, numPages: 12 });
    const a = run.add();
    run.append([a], [6]);
    const [b, c] = [run.fork(a), run.fork(a)];
    expect([cache.freePages, cache.pages(b)]).toEqual([10, cache.pages(a)]);
    run.append([b], [1]);
    expect(cache.freePages).toBe(9);
    expect(cache.pages(b)[0]).toBe(cache.pages(a)[0]);
    expect(cache.pages(b)[1]).not.toBe(cache.pages(a)[1]);
    run.append([a, c, b], [5, 2, 1]);
    await run.expectSame();
    expect(cache.freePages).toBe(12 - 1 - 3 - 1); // the prefix, the last pages of three, one more of the first
  });

  test('the last holder of a page writes into it', async () => {
    const { cache } = runOf();
    const a = run.add();
    run.append([a], [3]);
    const b = run.fork(a);
    run.free(a);
    const [page] = cache.pages(b);
    run.append([b], [1]);
    expect(cache.pages(b)).toEqual([page]);
    await run.expectSame();
  });

  test('a full page is never copied', async () => {
    const { cache } = runOf();
    const a = run.add();
    run.append([a], [8]);
    const b = run.fork(a);
    run.append([a, b], [1, 1]);
    expect(cache.freePages).toBe(8 - 4);
    expect(cache.pages(a).slice(0, 2)).toEqual(cache.pages(b).slice(0, 2));
    await run.expectSame();
  });

  test('of an empty sequence, and of a fork', async () => {
    runOf();
    const a = run.add();
    const b = run.fork(run.fork(a));
    run.append([a, b], [2, 2]);
    const c = run.fork(b);
    run.append([c, b, a], [1, 1, 3]);
    await run.expectSame();
  });
});

describe('truncate', () => {
  test('returns pages, and appends go on from there', async () => {
    const { cache } = runOf({ numPages: 6 });
    const a = run.add();
    run.append([a], [15]);
    run.truncate(a, 6);
    expect(cache.freePages).toBe(4);
    await run.expectSame();
    run.append([a], [3]);
    await run.expectSame();
    run.truncate(a, 8);
    run.truncate(a, 8);
    expect(cache.freePages).toBe(4);
    run.append([a], [1]);
    run.truncate(a, 0);
    expect(cache.freePages).toBe(6);
    run.append([a], [2]);
    await run.expectSame();
  });

  test('a fork keeps what the other drops, and a shared page is copied before it is written', async () => {
    const { cache } = runOf({ numPages: 8 });
    const a = run.add();
    run.append([a], [10]);
    const b = run.fork(a);
    run.truncate(b, 6);
    expect(cache.freePages).toBe(8 - 3);
    run.append([b], [1]);
    expect(cache.pages(b)[0]).toBe(cache.pages(a)[0]);
    expect(cache.pages(b)[1]).not.toBe(cache.pages(a)[1]);
    await run.expectSame();
    run.truncate(a, 7);
    const c = run.fork(a);
    run.append([a, c], [1, 2]);
    await run.expectSame();
  });
});

test('a freed page is reused, and work recorded before still reads its old contents', async () => {
  const { cache } = runOf({ numPages: 1 });
  const a = run.add();
  run.append([a], [4]);
  const [before, expected] = [clone(cache.keys), await cache.keys.data()];
  const pending = clone(cache.keys);
  run.free(a);
  const b = run.add();
  run.append([b], [4]);
  expect(cache.pages(b)).toEqual([0]);
  await run.expectSame();
  expect(await pending.data()).toEqual(expected);
  expect(await before.data()).toEqual(expected);
  before.dispose();
  pending.dispose();
});

describe('growth', () => {
  test('doubles the pages until there are enough, and nothing is lost', async () => {
    const { cache } = runOf({ numPages: 2, growth: 'double', dtype: 'float16' });
    const a = run.add();
    run.append([a], [6]);
    const b = run.fork(a);
    run.append([b, a], [20, 1]);
    expect([cache.numPages, cache.freePages]).toEqual([8, 0]);
    await run.expectSame();
  });
});

test('without free pages an append is refused, and the cache is as it was', async () => {
  const { cache } = runOf({ numPages: 4 });
  const a = run.add();
  run.append([a], [6]);
  const b = run.fork(a);
  const c = run.add();
  run.append([c], [4]);
  const pages = [a, b, c].map((id) => cache.pages(id));
  expect(() => run.append([a, b, c], [1, 1, 1])).toThrow(
    'PagedKeyValueCache.append: key must fit the free pages, of which there are 1, got rows for 2',
  );
  expect([a, b, c].map((id) => cache.pages(id))).toEqual(pages);
  expect(cache.freePages).toBe(1);
  await run.expectSame();
  run.free(b);
  run.append([a, c], [1, 1]);
  await run.expectSame();
});

test('of more workgroups than one dimension holds', async () => {
  await withWorkgroupLimit(device, 9, async () => {
    runOf({ numPages: 8, pageSize: 32 });
    const a = run.add();
    run.append([a], [63]);
    const b = run.fork(a);
    run.append([b], [64]);
    await run.expectSame();
  });
});

test('in the steady state an append is one dispatch and one write, and makes no buffer, pipeline or bind group', async () => {
  const { cache } = runOf({ numPages: 20, pageSize: 2 });
  const ids = [run.add(), run.add()];
  const other = new PagedKeyValueCache(device, { numPages: 20, pageSize: 2, numKvHeads: 3, headDim: 7, valueDim: 5 });
  const otherIds = [other.add(), other.add()];
  const [k, v] = [device.randn([2, 3, 1, 7]), device.randn([2, 3, 1, 5])];
  const step = () => {
    cache.append(ids, k, v);
    other.append(otherIds, k, v);
    device.flush();
  };
  step();
  const bindGroups = vi.spyOn(device.gpu, 'createBindGroup');
  const before = device.runtime.counters();
  for (let i = 0; i < 9; i++) step();
  const { dispatches, submits } = before;
  // one submit a step: neither cache's table makes the other's wait
  expect(device.runtime.counters()).toEqual({ ...before, dispatches: dispatches + 18, submits: submits + 9 });
  expect(bindGroups).not.toHaveBeenCalled();
  bindGroups.mockRestore();
  for (const disposable of [k, v, other]) disposable.dispose();
});

test('one batch of commands may hold many appends', async () => {
  runOf({ numPages: 40, pageSize: 2 });
  const ids = [run.add(), run.add(), run.add()];
  for (let i = 0; i < 6; i++) {
    run.append([ids[i % 3]], [3]);
    run.append([ids[(i + 1) % 3], ids[i % 3]], [1, 2]);
  }
  await run.expectSame();
});

test('a longer table replaces the earlier one', async () => {
  runOf({ numPages: 300, pageSize: 1 });
  const a = run.add();
  run.append([a], [1]);
  run.append([a], [250]);
  run.append([a], [2]);
  await run.expectSame();
});

describe('bad input', () => {
  test.each<[string, Partial<Record<keyof PagedKeyValueCacheOptions, unknown>>, string]>([
    ['pages', { numPages: 0 }, 'numPages must be an integer of 1 or more, got 0'],
    ['page size', { pageSize: 0 }, 'pageSize must be an integer of 1 or more, got 0'],
    ['page size', { pageSize: 12 }, 'pageSize must be a power of two, got 12'],
    ['growth', { growth: 'triple' }, "growth must be 'error' or 'double', got 'triple'"],
    ['dtype', { dtype: 'int32' }, "dtype must be 'float32' or 'float16' or 'int8' or 'int4', got 'int32'"],
    ['a typo', { numpages: 3 } as object, "unknown option 'numpages'; did you mean 'numPages'?"],
  ])('%s is refused', (_name, options, message) => {
    expect(() => runOf(options as object)).toThrow(`PagedKeyValueCache: ${message}`);
  });

  test('what does not fit is refused, and the cache is as it was', async () => {
    const { cache } = runOf();
    const [a, b] = [run.add(), run.add()];
    run.append([a, b], [3, 5]);
    device.scope(() => {
      const [k, v] = [device.randn([2, 3, 2, 7]), device.randn([2, 3, 2, 5])];
      const refuse = (message: string, ids: unknown, options?: object, keys: Tensor = k) =>
        expect(() => cache.append(ids as number[], keys, v, options)).toThrow(`PagedKeyValueCache.append: ${message}`);
      refuse('ids must be an array of at least one sequence, got 3', 3);
      refuse('ids must be an array of at least one sequence, got []', []);
      refuse('ids[1] must be a sequence that was added and not freed, got 9', [a, 9]);
      refuse(`ids must be different sequences, got [${a}, ${a}]`, [a, a]);
      refuse('key must have shape [1, 3, length, 7], got [2, 3, 2, 7]', [a]);
      refuse('key must be a Tensor, got null', [a, b], {}, null as never);
      refuse('key must not be a view of the cache, got one', [a, b], {}, cache.keys.slice(0, 0, 2).slice(2, 0, 2));
      for (const lengths of [[1], [1, 3], [-1, 2], [0.5, 1], 2, '12']) {
        refuse('lengths must be 2 integers from 0 to 2, one for each sequence, got', [a, b], { lengths });
      }
      refuse("unknown option 'length'; did you mean 'lengths'?", [a, b], { length: [1, 1] });
      const table = device.randn([6, 2]);
      refuse('rotary must have tables of at least 7 positions, got 6', [a, b], {
        rotary: { cos: table, sin: table },
      });
      // what is not real has no position
      expect(() => cache.append([a, b], k, v, { rotary: { cos: table, sin: table }, lengths: [0, 0] })).not.toThrow();
    });
    for (const id of [9, -1, undefined, '0']) {
      const message = 'id must be a sequence that was added and not freed, got';
      expect(() => cache.fork(id as number)).toThrow(`PagedKeyValueCache.fork: ${message}`);
      expect(() => cache.free(id as number)).toThrow(`PagedKeyValueCache.free: ${message}`);
      expect(() => cache.length(id as number)).toThrow(`PagedKeyValueCache.length: ${message}`);
      expect(() => cache.pages(id as number)).toThrow(`PagedKeyValueCache.pages: ${message}`);
      expect(() => cache.truncate(id as number, 0)).toThrow(`PagedKeyValueCache.truncate: ${message}`);
    }
    for (const length of [4, -1, 0.5]) {
      expect(() => cache.truncate(a, length)).toThrow(
        `PagedKeyValueCache.truncate: length must be an integer from 0 to the 3 keys held, got ${length}`,
      );
    }
    await run.expectSame();
  });

  test('freeing twice is refused, and frees nothing of others', async () => {
    const { cache } = runOf();
    const a = run.add();
    run.append([a], [3]);
    const b = run.fork(a);
    run.free(a);
    expect(() => cache.free(a)).toThrow('PagedKeyValueCache.free: id must be a sequence that was added and not freed');
    const c = run.add();
    expect([a, b]).not.toContain(c);
    run.append([c], [4]);
    await run.expectSame();
  });

  test('use after dispose is refused, and disposing again does nothing', () => {
    const { cache } = runOf();
    const a = run.add();
    cache.dispose();
    cache.dispose();
    expect(cache.disposed).toBe(true);
    expect(() => cache.add()).toThrow('PagedKeyValueCache.add: the cache must not be disposed');
    expect(() => cache.fork(a)).toThrow('PagedKeyValueCache.fork: the cache must not be disposed');
    expect(() => cache.free(a)).toThrow('PagedKeyValueCache.free: the cache must not be disposed');
    expect(() => cache.append([a], undefined as never, undefined as never)).toThrow(
      'PagedKeyValueCache.append: the cache must not be disposed',
    );
  });
});
