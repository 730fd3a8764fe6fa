import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  KeyValueCache,
  PagedKeyValueCache,
  type AttentionResult,
  type Device,
  type KeyValueCacheOptions,
  type RotaryTables,
  type Tensor,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { narrow } from '../matrix/narrow.ts';
import { type Float, type Layout, stored, upload } from '../ops/upload.ts';
import { Random } from '../random.ts';
import { attention, type AttentionOptions } from '../reference/attention.ts';
import { arrange, SlotModel, tokenOf, type RotaryTables as HostTables, type Token } from '../reference/cache.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { rotaryEmbedding } from '../reference/rotary-embedding.ts';
import { tolerances } from '../reference/tolerances.ts';
import { appending, deviceTables, entryOf, hostTables, LAYOUTS, newRows } from './cache-run.ts';
import { PagedRun } from './paged-run.ts';

let device: Device;
let liveBefore: number;
const open: Disposable[] = [];
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterEach(() => {
  for (const one of open.splice(0)) one[Symbol.dispose]();
  expect(device.memory().live).toBe(liveBefore);
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(13);
const HEADS = 4;
const SIZES = { batch: 2, kvHeads: 2, dim: 7, valueDim: 5 };

/** What is stored in the cache, and what the queries are: not all pairs everywhere, since each is a kernel to compile. */
type DTypes = [cache: Float, query: Float];
const FLOAT32: DTypes = ['float32', 'float32'];
const FLOAT16: DTypes = ['float16', 'float16'];
const HALF_STORED: DTypes = ['float16', 'float32'];
const HALF_ASKED: DTypes = ['float32', 'float16'];

function cacheOf(options: Partial<KeyValueCacheOptions>): KeyValueCache {
  const { batch, kvHeads: numKvHeads, dim: headDim, valueDim } = SIZES;
  const cache = new KeyValueCache(device, { batch, numKvHeads, headDim, valueDim, capacity: 32, ...options });
  open.push(cache);
  return cache;
}

function tablesOf(positions: number, interleaved = false): { host: HostTables; rotary: RotaryTables } {
  const host = hostTables(positions, 6, interleaved);
  const rotary = device.scope(() => deviceTables(device, host));
  open.push(rotary.cos, rotary.sin);
  return { host, rotary };
}

function queriesOf(batch: number, length: number, dtype: Float): HostArray {
  const shape = [batch, HEADS, length, SIZES.dim];
  return stored({ shape, data: random.normals(shape) }, dtype);
}

function rotated(q: HostArray, first: number, { cos, sin, interleaved }: HostTables): HostArray {
  return rotaryEmbedding(q, cos, sin, { position: (_, row) => first + row, interleaved });
}

/** Attends on the GPU to what `attend` says, and reads the results back. */
async function attended(q: HostArray, dtype: Float, attend: (q: Tensor) => AttentionResult, layout?: Layout) {
  const { output, logSumExp } = device.scope(() => attend(upload(device, q, dtype, layout)));
  expect(output.dtype).toBe(dtype);
  expect(output.shape).toEqual([...q.shape.slice(0, 3), SIZES.valueDim]);
  const values = await output.data();
  const sums = await logSumExp?.data();
  output.dispose();
  logSumExp?.dispose();
  return { output: values, logSumExp: sums };
}

/** The reference over tokens, oldest first, as the cache stores them; the queries are at the last of them. */
function expected(q: HostArray, tokens: readonly Token[], dtype: Float, options: AttentionOptions = {}) {
  const { keys, values } = arrange(tokens, [q.shape[0], SIZES.kvHeads, SIZES.dim, SIZES.valueDim]);
  return attention(q, stored(keys, dtype), stored(values, dtype), { isCausal: 'bottom-right', ...options });
}

/** What is rotated before it is rounded to float16 may be a rounding off, which then is in the log-sum-exp too. */
function toleranceOf([cache, query]: DTypes, isRotated: boolean) {
  const { attention: half } = tolerances.float16;
  if (isRotated && (cache === 'float16' || query === 'float16')) return { output: half, logSumExp: half };
  return { output: tolerances[query].attention, logSumExp: tolerances[query].logSumExp };
}

/** A cache with its model: appends random tokens, attends for them, and compares. */
class Life {
  readonly cache: KeyValueCache;
  readonly model: SlotModel;
  readonly all: Token[] = [];
  readonly #dtypes: DTypes;
  readonly #tables: ReturnType<typeof tablesOf> | undefined;

  constructor(options: Partial<KeyValueCacheOptions>, dtypes: DTypes, tables?: ReturnType<typeof tablesOf>) {
    this.cache = cacheOf({ dtype: dtypes[0], ...options });
    this.model = new SlotModel(options.growth ? Infinity : this.cache.capacity, options.sinks ?? 0);
    this.#dtypes = dtypes;
    this.#tables = tables;
  }

  append(length: number): void {
    const rows = newRows(random, SIZES, length, 'float32');
    for (let n = 0; n < length; n++) {
      const token = tokenOf(rows.k, rows.v, n, this.all.length, this.#tables?.host);
      this.model.append(token);
      this.all.push(token);
    }
    appending(device, rows, 'float32', (k, v) => this.cache.append(k, v, { rotary: this.#tables?.rotary }));
  }

  /** Attends with queries of the last `length` tokens; the keys they see are those held, or `tokens`. */
  async attend(
    length: number,
    options: AttentionOptions = {},
    { tokens = this.model.tokens, layout }: { tokens?: readonly Token[]; layout?: Layout } = {},
  ): Promise<void> {
    const [stores, queries] = this.#dtypes;
    const q = queriesOf(SIZES.batch, length, queries);
    const { rotary, host } = this.#tables ?? {};
    const got = await attended(
      q,
      queries,
      (tensor) => this.cache.attend(tensor, { ...deviceOptions(options), rotary, returnLogSumExp: true }),
      layout,
    );
    const placed = host ? stored(rotated(q, this.all.length - length, host), queries) : q;
    const wanted = expected(placed, tokens, stores, options);
    const tolerance = toleranceOf(this.#dtypes, host !== undefined);
    expectClose(got.output, wanted.output.data, tolerance.output, `output at ${this.all.length}`);
    expectClose(got.logSumExp!, wanted.logSumExp.data, tolerance.logSumExp, `log-sum-exp at ${this.all.length}`);
  }
}

/** Reference options whose arrays are the same on the GPU. */
function deviceOptions({
  alibiSlopes,
  keyMask,
  mask,
  maskMod,
  scoreMod,
  sinks,
  returnScores,
  ...rest
}: AttentionOptions) {
  expect([keyMask, mask, maskMod, scoreMod, returnScores].every((option) => option === undefined)).toBe(true);
  return {
    ...rest,
    ...(alibiSlopes && { alibiSlopes: Float32Array.from(alibiSlopes.data) }),
    ...(sinks && { sinks: Float32Array.from(sinks.data) }),
  };
}

describe.each(narrow([FLOAT32, HALF_STORED], [FLOAT32, FLOAT16, HALF_STORED, HALF_ASKED]))(
  'a cache of %s, queries of %s',
  (...dtypes) => {
    test.each([
      ['not rotated', undefined],
      ['rotated, half-split', false],
      ['rotated, interleaved', true],
    ])('prefill, single tokens and chunks, %s: what causal attention to all gives', async (_name, interleaved) => {
      const tables = interleaved === undefined ? undefined : tablesOf(40, interleaved);
      const life = new Life({}, dtypes, tables);
      for (const [step, length] of [9, 1, 1, 5, 1, 12].entries()) {
        life.append(length);
        await life.attend(length, {}, { tokens: life.all, layout: LAYOUTS[step % 3] });
      }
    });
  },
);

describe.each(narrow([FLOAT32], [FLOAT32, HALF_STORED]))('a sliding cache of %s, queries of %s', (...dtypes) => {
  test.each([
    [0, [4, 1, 1, 5, 1, 3, 1, 1, 1, 8, 1]],
    [3, [2, 1, 9, 1, 1, 1, 4, 1]],
    [3, [25, 1, 1]],
  ])('sliding with %d sinks: what is held, oldest first', async (sinks, lengths) => {
    const tables = tablesOf(40);
    for (const given of [undefined, tables]) {
      const life = new Life({ capacity: 11, eviction: 'sliding', sinks }, dtypes, given);
      for (const length of lengths) {
        life.append(length);
        await life.attend(Math.min(length, life.cache.length));
      }
    }
  });
});

describe.each(narrow([FLOAT16], [FLOAT32, FLOAT16]))('a paged cache of %s, queries of %s', (...dtypes) => {
  test('pages: sequences of different lengths, forked, freed and padded', async () => {
    const { host, rotary } = tablesOf(64);
    const [stores, queries] = dtypes;
    for (const tables of [undefined, host]) {
      const run = new PagedRun(device, random, SIZES, { numPages: 20, pageSize: 4, dtype: stores }, tables);
      open.push(run.cache);
      const given = tables && rotary;
      /** Queries of the last rows of each, in a batch as long as the longest. */
      const compare = async (ids: number[], lengths: number[], padding = 0) => {
        const rows = Math.max(...lengths) + padding;
        const q = queriesOf(ids.length, rows, queries);
        const options = { rotary: given, ...((padding > 0 || new Set(lengths).size > 1) && { lengths }) };
        const { output } = await attended(q, queries, (tensor) => run.cache.attend(ids, tensor, options));
        const perEntry = output.length / ids.length;
        for (const [b, id] of ids.entries()) {
          const tokens = run.model.get(id)!;
          const first = tokens.length - lengths[b];
          const entry = entryOf(q, b);
          const placed = tables ? stored(rotated(entry, first, tables), queries) : entry;
          const wanted = expected(placed, tokens, stores, { queryOffset: first }).output.data;
          for (let head = 0; head < HEADS; head++) {
            const start = head * rows * SIZES.valueDim;
            const end = start + lengths[b] * SIZES.valueDim;
            const got = output.subarray(b * perEntry + start, b * perEntry + end);
            const label = `head ${head} of sequence ${id}`;
            expectClose(got, wanted.subarray(start, end), toleranceOf(dtypes, tables !== undefined).output, label);
          }
        }
      };
      const step = async (ids: number[], lengths: number[], padding = 0) => {
        run.append(ids, lengths, { rotary: given, padding });
        await compare(ids, lengths, padding);
      };
      const [a, b, c] = [run.add(), run.add(), run.add()];
      await step([a, b, c], [13, 1, 6]);
      await step([a, b, c], [1, 1, 1]);
      await step([c, a], [3, 5], 2);
      const d = run.fork(a);
      await step([d, a], [1, 1]);
      run.free(a);
      const e = run.add();
      await step([e, d, b], [9, 1, 4]);
      await step([e, d], [1, 1]);
      await compare([d, d, e], [2, 2, 2]);
    }
  });
});

describe('options', () => {
  const slopes = { shape: [HEADS], data: Float32Array.of(0.5, 0.25, 0.125, 0.0625) };
  const logits = { shape: [HEADS], data: Float32Array.of(0.5, -1, 2, 0) };

  test.each<[string, AttentionOptions]>([
    ['scale and softcap', { scale: 0.7, softcap: 2 }],
    ['ALiBi', { alibiSlopes: slopes }],
    ['a window', { window: { left: 3, right: 0 } }],
    ['sink logits', { sinks: logits }],
    ['no causality', { isCausal: false }],
    ['an offset', { queryOffset: 4 }],
    ['an offset for each', { queryOffset: [2, 7] }],
  ])('%s, over places among the keys held', async (_name, options) => {
    const life = new Life({ capacity: 11, eviction: 'sliding', sinks: 2 }, FLOAT32);
    life.append(9);
    await life.attend(3, options);
    life.append(8);
    await life.attend(3, options);
    await life.attend(1, options);
  });

  test('an offset moves the rotation too', async () => {
    const { host, rotary } = tablesOf(40);
    const life = new Life({ capacity: 11, eviction: 'sliding', sinks: 2 }, FLOAT32, { host, rotary });
    life.append(17);
    const q = queriesOf(SIZES.batch, 2, 'float32');
    const { output } = await attended(q, 'float32', (tensor) =>
      life.cache.attend(tensor, { rotary, queryOffset: [3, 3] }),
    );
    // place 3 among the keys held is position 3 + 6
    const wanted = expected(rotated(q, 9, host), life.model.tokens, 'float32', { queryOffset: 3 });
    expectClose(output, wanted.output.data, tolerances.float32.attention, 'output');
  });

  test('a window is exact where the ring holds W + N − 1 keys', async () => {
    const [window, rows] = [6, 3];
    const life = new Life({ capacity: window + rows - 1, eviction: 'sliding' }, FLOAT32, tablesOf(40));
    for (let step = 0; step < 9; step++) {
      life.append(rows);
      // the reference has the keys of all tokens, but the cache has lost most of them
      await life.attend(rows, { window: { left: window - 1, right: 0 } }, { tokens: life.all });
    }
  });
});

test('attention that is recorded reads what was there, whatever the cache does next', async () => {
  const life = new Life({ capacity: 3, growth: 'double' }, FLOAT32);
  life.append(3);
  const q = queriesOf(SIZES.batch, 1, 'float32');
  const pending = device.scope(() => life.cache.attend(upload(device, q, 'float32')));
  const wanted = expected(q, life.all, 'float32');
  life.append(10);
  const later = device.scope(() => life.cache.attend(upload(device, q, 'float32')));
  life.cache.reset();
  life.cache.dispose();
  expectClose(await pending.output.data(), wanted.output.data, tolerances.float32.attention, 'before growth');
  const grown = expected(q, life.all, 'float32').output.data;
  expectClose(await later.output.data(), grown, tolerances.float32.attention, 'after growth');
  pending.output.dispose();
  later.output.dispose();
});

test('a decoding step makes no buffer, pipeline or bind group', () => {
  const { rotary } = tablesOf(64);
  const ring = cacheOf({ capacity: 12, eviction: 'sliding', sinks: 2 });
  const { kvHeads: numKvHeads, dim: headDim, valueDim } = SIZES;
  const paged = new PagedKeyValueCache(device, { numPages: 40, pageSize: 2, numKvHeads, headDim, valueDim });
  open.push(paged);
  const ids = [paged.add(), paged.add()];
  const [q, k, v] = [device.randn([2, HEADS, 1, 7]), device.randn([2, 2, 1, 7]), device.randn([2, 2, 1, 5])];
  open.push(q, k, v);
  const step = () => {
    device.scope(() => {
      ring.append(k, v, { rotary });
      ring.attend(q, { rotary });
      paged.append(ids, k, v, { rotary });
      paged.attend(ids, q, { rotary });
      return undefined;
    });
    device.flush();
  };
  for (let i = 0; i < 3; i++) step();
  const bindGroups = vi.spyOn(device.gpu, 'createBindGroup');
  const { buffers, pipelines } = device.runtime.counters();
  for (let i = 0; i < 20; i++) step();
  expect(device.runtime.counters()).toMatchObject({ buffers, pipelines });
  expect(bindGroups).not.toHaveBeenCalled();
  bindGroups.mockRestore();
});

test('the layers of a model, each with a paged cache, are one submit', () => {
  const { kvHeads: numKvHeads, dim: headDim, valueDim } = SIZES;
  const layers = Array.from({ length: 5 }, () => {
    const cache = new PagedKeyValueCache(device, { numPages: 16, pageSize: 4, numKvHeads, headDim, valueDim });
    open.push(cache);
    return { cache, ids: [cache.add(), cache.add()] };
  });
  const [q, k, v] = [device.randn([2, HEADS, 1, 7]), device.randn([2, 2, 1, 7]), device.randn([2, 2, 1, 5])];
  open.push(q, k, v);
  const step = () => {
    for (const { cache, ids } of layers) {
      device.scope(() => {
        cache.append(ids, k, v, { lengths: [1, 0] });
        cache.attend(ids, q, { lengths: [1, 0] });
        return undefined;
      });
    }
    device.flush();
  };
  step();
  const { submits, buffers } = device.runtime.counters();
  for (let i = 0; i < 9; i++) step();
  expect(device.runtime.counters()).toMatchObject({ submits: submits + 9, buffers });
});

test('queries that are rotated have no gradient either, and say why', () => {
  device.scope(() => {
    using cache = new KeyValueCache(device, { batch: 1, numKvHeads: 2, headDim: 4, capacity: 8 });
    const q = device.zeros([1, 2, 3, 4], { requiresGrad: true });
    cache.append(q, q);
    const angles = device.zeros([8, 2]);
    const { output } = cache.attend(q, { rotary: { cos: angles, sin: angles } });
    expect(output.requiresGrad).toBe(true);
    expect(() => output.backward(q)).toThrow('got those of a cache');
  });
});

describe('bad input', () => {
  test('of a KeyValueCache', () => {
    const cache = cacheOf({});
    const { rotary } = tablesOf(8);
    device.scope(() => {
      const q = device.randn([2, HEADS, 3, 7]);
      const refuse = (message: string, query: unknown, options?: object) =>
        expect(() => cache.attend(query as Tensor, options)).toThrow(`KeyValueCache.attend: ${message}`);
      refuse('the cache must hold keys, got none', q);
      cache.append(device.randn([2, 2, 5, 7]), device.randn([2, 2, 5, 5]));
      refuse('query must be a Tensor, got undefined', undefined);
      refuse('query must be float32 or float16, got int32', device.tensor(new Int32Array(7), [1, 1, 1, 7]));
      refuse('query must have shape [2, heads, length, 7], got [2, 12, 7]', q.reshape([2, 12, 7]));
      refuse('query must have shape [2, heads, length, 7], got [1, 4, 3, 7]', q.slice(0, 1));
      refuse('query must have shape [2, heads, length, 7], got [2, 4, 3, 6]', q.slice(3, 1));
      refuse("key heads must divide query's 3, got 2", q.slice(1, 1));
      for (const name of ['keyLengths', 'queryOffsets', 'rotry'])
        refuse(`unknown option '${name}'`, q, { [name]: [3, 3] });
      refuse('rotary must be a RotaryEmbedding', q, { rotary: true });
      refuse('query must have positions from 0 on to be rotated, got rows from -1 on', device.randn([2, HEADS, 6, 7]), {
        rotary,
      });
      refuse('rotary must have tables of at least 9 positions, got 8', q, { rotary, queryOffset: 6 });
      refuse('queryOffset must be an integer, or one for each of 2 batch entries', q, { rotary, queryOffset: [1] });
      refuse('queryOffset must be an integer, or one for each of 2 batch entries, got null', q, {
        rotary,
        queryOffset: null as unknown as number,
      });
      refuse('queryOffset must be numbers if queries are rotated', q, {
        rotary,
        queryOffset: device.tensor(new Int32Array(2), [2]),
      });
      cache.dispose();
      refuse('the cache must not be disposed', q);
    });
  });

  test('is refused before the query is rotated', () => {
    using cache = new KeyValueCache(device, { batch: 1, numKvHeads: 1, headDim: 8, capacity: 2 });
    const { rotary } = tablesOf(8);
    device.scope(() => {
      cache.append(device.randn([1, 1, 1, 8]), device.randn([1, 1, 1, 8]));
      const q = device.randn([1, 1, 1, 8]);
      const before = device.runtime.counters();
      expect(() => cache.attend(q, { rotary, mask: q })).toThrow("mask must broadcast to the scores' shape");
      expect(device.runtime.counters()).toEqual(before);
    });
  });

  test('of a PagedKeyValueCache', () => {
    const { kvHeads: numKvHeads, dim: headDim, valueDim } = SIZES;
    const cache = new PagedKeyValueCache(device, { numPages: 9, pageSize: 2, numKvHeads, headDim, valueDim });
    open.push(cache);
    const ids = [cache.add(), cache.add()];
    device.scope(() => {
      const q = device.randn([2, HEADS, 3, 7]);
      const refuse = (message: string, sequences: unknown, query: unknown, options?: object) =>
        expect(() => cache.attend(sequences as number[], query as Tensor, options)).toThrow(
          `PagedKeyValueCache.attend: ${message}`,
        );
      refuse('the cache must hold keys, got none', ids, q);
      cache.append(ids, device.randn([2, 2, 5, 7]), device.randn([2, 2, 5, 5]));
      refuse('ids[1] must be a sequence that was added and not freed, got 7', [ids[0], 7], q);
      refuse('query must have shape [1, heads, length, 7], got [2, 4, 3, 7]', [ids[0]], q);
      refuse('query must be a Tensor, got 1', ids, 1, { lengths: [1, 1] });
      refuse('lengths must be 2 integers from 0 to 3, one for each sequence, got [4, 1]', ids, q, { lengths: [4, 1] });
      refuse('lengths must not come with queryOffset, got both', ids, q, { lengths: [1, 1], queryOffset: 2 });
      refuse("unknown option 'length'", ids, q, { length: [1, 1] });
      cache.dispose();
      refuse('the cache must not be disposed', ids, q);
    });
  });
});
