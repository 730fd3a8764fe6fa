/** Random operations on caches, compared with a model that knows only tokens, over sizes, dtypes, layouts and steps. */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { KeyValueCache, type Device } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { SlotModel, tokenOf, type RotaryTables } from '../reference/cache.ts';
import { appending, clear, deviceTables, expectStorage, hostTables, LAYOUTS, newRows } from './cache-run.ts';
import { PagedRun } from './paged-run.ts';

/** Fixed, so that every machine tries the same; a failure prints it with the path to the smallest counterexample. */
const SEED = 20_230_917;

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterEach(() => expect(device.memory().live).toBe(liveBefore));
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const dtype = fc.constantFrom('float32' as const, 'float16' as const);
const layout = fc.constantFrom(...LAYOUTS);

const rows = {
  seed: fc.nat(1e6),
  kvHeads: fc.integer({ min: 1, max: 3 }),
  dim: fc.integer({ min: 1, max: 12 }),
  valueDim: fc.integer({ min: 1, max: 12 }),
  dtype,
  /** Pairs to rotate, of those that a key has. */
  rotary: fc.option(fc.record({ share: fc.double({ min: 0, max: 1, noNaN: true }), interleaved: fc.boolean() })),
};

/** The tables on the host, where a key has a pair. */
function tablesOf(c: { dim: number; rotary: { share: number; interleaved: boolean } | null }, positions: number) {
  const pairs = c.rotary && Math.round(c.rotary.share * Math.floor(c.dim / 2));
  return pairs ? hostTables(positions, 2 * pairs, c.rotary!.interleaved) : undefined;
}

/** Runs `work` with the tables on the GPU. */
async function withTables(
  tables: RotaryTables | undefined,
  work: (rotary?: ReturnType<typeof deviceTables>) => Promise<void>,
) {
  const rotary = tables && deviceTables(device, tables);
  try {
    await work(rotary);
  } finally {
    rotary?.cos.dispose();
    rotary?.sin.dispose();
  }
}

const lives = fc.record({
  ...rows,
  batch: fc.integer({ min: 1, max: 3 }),
  capacity: fc.integer({ min: 1, max: 12 }),
  /** How many places of the capacity are sinks; undefined: no eviction. */
  sinks: fc.option(fc.integer({ min: 0, max: 11 }), { nil: undefined }),
  steps: fc.array(
    fc.oneof(
      { weight: 6, arbitrary: fc.record({ length: fc.integer({ min: 1, max: 20 }), inDType: dtype, layout }) },
      { weight: 1, arbitrary: fc.constant('reset' as const) },
      { weight: 2, arbitrary: fc.record({ dropped: fc.integer({ min: 0, max: 12 }) }) },
    ),
    { minLength: 1, maxLength: 8 },
  ),
});

test('KeyValueCache agrees with its model', async () => {
  const property = fc.asyncProperty(lives, async (c) => {
    const random = new Random(c.seed);
    const slides = c.sinks !== undefined;
    const sinks = Math.min(c.sinks ?? 0, c.capacity - 1);
    const tables = tablesOf(c, 200);
    using cache = new KeyValueCache(device, {
      batch: c.batch,
      numKvHeads: c.kvHeads,
      headDim: c.dim,
      valueDim: c.valueDim,
      capacity: c.capacity,
      dtype: c.dtype,
      ...(slides && { eviction: 'sliding' as const, sinks }),
    });
    clear(device, cache.keys, cache.values);
    let model = new SlotModel(c.capacity, sinks);
    let held = 0;
    await withTables(tables, async (rotary) => {
      for (const step of c.steps) {
        if (step === 'reset') {
          cache.reset();
          clear(device, cache.keys, cache.values);
          model = new SlotModel(c.capacity, sinks);
          held = 0;
          continue;
        }
        if ('dropped' in step) {
          const least = cache.position > held ? sinks : 0;
          held = Math.max(least, held - step.dropped);
          cache.truncate(held);
          continue;
        }
        const { length, inDType } = step;
        const { position } = cache;
        const given = newRows(random, c, length, inDType);
        const append = () => appending(device, given, inDType, (k, v) => cache.append(k, v, { rotary }), step.layout);
        if (!slides && position + length > c.capacity) {
          expect(append).toThrow('must fit the capacity');
          expect(cache.position).toBe(position);
          continue;
        }
        append();
        for (let n = 0; n < length; n++) model.append(tokenOf(given.k, given.v, n, position + n, tables));
        held = Math.min(held + length, c.capacity);
      }
    });
    const slots = Array.from({ length: c.capacity }, (_, slot) => model.slots[slot]);
    expect(cache.length).toBe(held);
    await expectStorage(cache, slots, c, { dtype: c.dtype, isRotated: tables !== undefined });
  });
  await fc.assert(property, { numRuns: 80, seed: SEED });
});

const pick = fc.nat(1000);

const pagedLives = fc.record({
  ...rows,
  numPages: fc.integer({ min: 1, max: 12 }),
  pageSize: fc.constantFrom(1, 2, 4, 8),
  grows: fc.boolean(),
  steps: fc.array(
    fc.oneof(
      { weight: 2, arbitrary: fc.constant({ kind: 'add' as const }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('fork' as const), of: pick }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('free' as const), of: pick }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('truncate' as const), of: pick, length: pick }) },
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant('append' as const),
          of: fc.array(pick, { minLength: 1, maxLength: 3 }),
          lengths: fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 3, maxLength: 3 }),
          padding: fc.integer({ min: 0, max: 2 }),
          inDType: dtype,
          layout,
        }),
      },
    ),
    { minLength: 2, maxLength: 16 },
  ),
});

test('PagedKeyValueCache agrees with its model', async () => {
  const property = fc.asyncProperty(pagedLives, async (c) => {
    const tables = tablesOf(c, 200);
    const growth = c.grows ? 'double' : 'error';
    const { numPages, pageSize } = c;
    const run = new PagedRun(device, new Random(c.seed), c, { numPages, pageSize, dtype: c.dtype, growth }, tables);
    using _ = run.cache;
    run.add();
    await withTables(tables, async (rotary) => {
      for (const step of c.steps) {
        const ids = [...run.model.keys()];
        const choose = (of: number) => ids[of % ids.length];
        if (step.kind === 'add') run.add();
        else if (ids.length === 0) continue;
        else if (step.kind === 'fork') run.fork(choose(step.of));
        else if (step.kind === 'free') run.free(choose(step.of));
        else if (step.kind === 'truncate') {
          const id = choose(step.of);
          run.truncate(id, step.length % (run.model.get(id)!.length + 1));
        } else {
          const chosen = [...new Set(step.of.map(choose))];
          const lengths = step.lengths.slice(0, chosen.length);
          if (Math.max(...lengths) + step.padding === 0) continue;
          const before = chosen.map((id) => run.cache.pages(id));
          try {
            run.append(chosen, lengths, { ...step, rotary });
          } catch (error) {
            expect((error as Error).message).toMatch('must fit the free pages');
            expect(c.grows).toBe(false);
            expect(chosen.map((id) => run.cache.pages(id))).toEqual(before);
          }
        }
      }
    });
    await run.expectSame();
  });
  await fc.assert(property, { numRuns: 80, seed: SEED });
});
