/** Random lives of caches, with attention to what they hold after every append: rings, growth, pages, forks, rotations. */
import fc from 'fast-check';
import {
  ArgumentError,
  type AttentionResult,
  type Device,
  KeyValueCache,
  type RotaryTables,
  type Tensor,
} from '../../src/index.ts';
import { appending, deviceTables, entryOf, hostTables, LAYOUTS, newRows } from '../caches/cache-run.ts';
import { PagedRun } from '../caches/paged-run.ts';
import { kernelsOf } from '../ops/attention/pinned.ts';
import { type Float, stored, upload } from '../ops/upload.ts';
import { Random } from '../random.ts';
import { attention, type AttentionOptions } from '../reference/attention.ts';
import { arrange, type RotaryTables as HostTables, SlotModel, type Token, tokenOf } from '../reference/cache.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { rotaryEmbedding } from '../reference/rotary-embedding.ts';
import { tolerances } from '../reference/tolerances.ts';
import { OWN_CHOICE, some, type Subject, subject, tenths, type Verdict } from './subject.ts';

/** What kernels are compiled for. */
interface Version {
  readonly cacheDType: Float;
  readonly queryDType: Float;
  readonly isModified: boolean;
  readonly group: number;
}

function versionOf(seed: number): Version {
  const random = new Random(seed);
  const [cacheDType, queryDType] = random.pick<[Float, Float]>([
    ['float32', 'float32'],
    ['float32', 'float32'],
    ['float16', 'float16'],
    ['float16', 'float32'],
    ['float32', 'float16'],
  ]);
  return { cacheDType, queryDType, isModified: random.uniform() < 0.3, group: random.pick([1, 2, 4]) };
}

/** More positions than any life has. */
const POSITIONS = 400;

const rowCount = fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 12 }), fc.constantFrom(31, 32, 33));

function shared(kernel: string, seed: number) {
  return {
    seed: fc.nat(1e6),
    version: fc.constant(versionOf(seed)),
    kvHeads: fc.integer({ min: 1, max: 2 }),
    dim: fc.constantFrom(4, 7, 20, 32),
    valueDim: fc.constantFrom(1, 5, 32),
    /** Half-split or interleaved. */
    rotary: some(fc.boolean()),
    isCausal: fc.constantFrom(undefined, false, 'bottom-right' as const),
    window: some(fc.record({ left: fc.integer({ min: -1, max: 40 }), right: fc.integer({ min: -1, max: 3 }) })),
    scale: some(tenths(-2, 2)),
    softcap: tenths(0.5, 60),
    hasSinks: fc.boolean(),
    layout: fc.constantFrom(...LAYOUTS),
    /** Queries of the last tokens, as many as there are. */
    queries: kernel === 'stream' ? fc.constantFrom(1, 2) : fc.constantFrom(1, 1, 2, 12, 40),
  };
}

type Shared = {
  [name in keyof ReturnType<typeof shared>]: ReturnType<typeof shared>[name] extends fc.Arbitrary<infer T> ? T : never;
};

interface Sizes {
  readonly kvHeads: number;
  readonly dim: number;
  readonly valueDim: number;
}

/** The options that op and reference share. */
function optionsOf(c: Shared, heads: number): AttentionOptions {
  const random = new Random(c.seed + 1);
  return {
    ...(c.isCausal !== undefined && { isCausal: c.isCausal }),
    ...(c.window && { window: { ...c.window, align: 'bottom-right' as const } }),
    ...(c.scale !== undefined && { scale: c.scale }),
    ...(c.hasSinks && { sinks: { shape: [heads], data: random.normals([heads], 2) } }),
    ...(c.version.isModified && {
      softcap: c.softcap,
      alibiSlopes: { shape: [heads], data: random.normals([heads], 0.1) },
    }),
  };
}

function deviceOptions({ sinks, alibiSlopes, isCausal, window, scale, softcap }: AttentionOptions) {
  return Object.fromEntries(
    Object.entries({
      isCausal,
      window,
      scale,
      softcap,
      sinks: sinks && Float32Array.from(sinks.data),
      alibiSlopes: alibiSlopes && Float32Array.from(alibiSlopes.data),
    }).filter(([, value]) => value !== undefined),
  );
}

/** Runs `work` with tables for the first elements of a key, on the host and on the device. */
async function withTables(
  device: Device,
  { rotary, dim }: Shared,
  work: (host?: HostTables, rotary?: RotaryTables) => Promise<Verdict>,
): Promise<Verdict> {
  if (rotary === undefined) return work();
  const host = hostTables(POSITIONS, 2 * Math.ceil(Math.floor(dim / 2) / 2), rotary);
  const tables = deviceTables(device, host);
  try {
    return await work(host, tables);
  } finally {
    tables.cos.dispose();
    tables.sin.dispose();
  }
}

/** Attends for queries at the last tokens of each of the sequences, and compares with the reference over their tokens. */
async function expectAttended(
  device: Device,
  c: Shared,
  random: Random,
  attend: (q: Tensor, options: object) => AttentionResult,
  sequences: readonly { readonly tokens: readonly Token[]; readonly next: number }[],
  host: HostTables | undefined,
  sizes: Sizes,
): Promise<void> {
  const { cacheDType, queryDType, group } = c.version;
  const heads = sizes.kvHeads * group;
  const length = Math.min(c.queries, ...sequences.map(({ tokens }) => tokens.length));
  if (length === 0) return;
  const shape = [sequences.length, heads, length, sizes.dim];
  const q = stored({ shape, data: random.normals(shape) }, queryDType);
  const options = optionsOf(c, heads);
  const { output, logSumExp } = device.scope(() =>
    attend(upload(device, q, queryDType, c.layout), { ...deviceOptions(options), returnLogSumExp: true }),
  );
  const [values, sums] = [await output.data(), await logSumExp!.data()];
  output.dispose();
  logSumExp!.dispose();
  const isRounded = host !== undefined && (cacheDType === 'float16' || queryDType === 'float16');
  for (const [b, { tokens, next }] of sequences.entries()) {
    const placed = host ? stored(rotated(entryOf(q, b), next - length, host), queryDType) : entryOf(q, b);
    const { keys, values: ofValues } = arrange(tokens, [1, sizes.kvHeads, sizes.dim, sizes.valueDim]);
    const wanted = attention(placed, stored(keys, cacheDType), stored(ofValues, cacheDType), {
      isCausal: 'bottom-right',
      ...options,
    });
    const [perEntry, rows] = [values.length / sequences.length, sums.length / sequences.length];
    // what is rotated before it is rounded to float16 may be a rounding off, and scales are up to 2 · √32 of the usual
    const factor = isRounded ? 12 : 1;
    const widened = ({ atol, rtol }: { atol: number; rtol: number }) => ({ atol: factor * atol, rtol: factor * rtol });
    const ofOutput = isRounded ? tolerances.float16.attention : tolerances[queryDType].attention;
    const ofSums = isRounded ? tolerances.float16.attention : { atol: 1e-4, rtol: 1e-6 };
    const entry = <T extends { subarray(from: number, to: number): T }>(x: T, size: number) =>
      x.subarray(b * size, (b + 1) * size);
    const [gotOutput, gotSums] = [entry(values, perEntry), entry(sums, rows)];
    const slack = { atol: 1e-4, rtol: 0 };
    const outputTolerance = widened({ atol: ofOutput.atol + slack.atol, rtol: ofOutput.rtol });
    expectClose(gotOutput, wanted.output.data, outputTolerance, `output of sequence ${b}`);
    expectClose(gotSums, wanted.logSumExp.data, widened(ofSums), `log-sum-exp of sequence ${b}`);
  }
}

function rotated(q: HostArray, first: number, { cos, sin, interleaved }: HostTables): HostArray {
  return rotaryEmbedding(q, cos, sin, { position: (_, row) => first + row, interleaved });
}

// ---- a ring, or storage that grows

function anyRing(kernel: string, seed: number) {
  return fc.record({
    ...shared(kernel, seed),
    batch: fc.integer({ min: 1, max: 2 }),
    capacity: fc.constantFrom(3, 11, 32, 64),
    kind: fc.constantFrom('fixed' as const, 'grows' as const, 'slides' as const),
    sinks: fc.integer({ min: 0, max: 4 }),
    steps: fc.array(rowCount, { minLength: 1, maxLength: 5 }),
  });
}

type Ring = ReturnType<typeof anyRing> extends fc.Arbitrary<infer T> ? T : never;

async function checkRing(device: Device, c: Ring): Promise<Verdict> {
  const random = new Random(c.seed);
  const { batch, capacity, kvHeads, dim, valueDim, version, kind } = c;
  const sinks = kind === 'slides' ? Math.min(c.sinks, capacity - 1) : 0;
  using cache = new KeyValueCache(device, {
    batch,
    numKvHeads: kvHeads,
    headDim: dim,
    valueDim,
    capacity,
    dtype: version.cacheDType,
    ...(kind === 'grows' && { growth: 'double' }),
    ...(kind === 'slides' && { eviction: 'sliding', sinks }),
  });
  const models = Array.from({ length: batch }, () => new SlotModel(kind === 'grows' ? Infinity : capacity, sinks));
  return await withTables(device, c, async (host, rotary) => {
    let position = 0;
    for (const length of c.steps) {
      const rows = newRows(random, c, length, 'float32');
      try {
        appending(device, rows, 'float32', (k, v) => cache.append(k, v, { rotary }), c.layout);
      } catch (error) {
        if (error instanceof ArgumentError && kind === 'fixed' && position + length > capacity) return 'refused';
        throw error;
      }
      for (const [b, model] of models.entries()) {
        const [k, v] = [entryOf(rows.k, b), entryOf(rows.v, b)];
        for (let n = 0; n < length; n++) model.append(tokenOf(k, v, n, position + n, host));
      }
      position += length;
      const sequences = models.map(({ tokens }) => ({ tokens, next: position }));
      const attend = (q: Tensor, options: object) => cache.attend(q, { ...options, rotary });
      await expectAttended(device, c, random, attend, sequences, host, c);
    }
    return 'right';
  });
}

// ---- pages

const pick = fc.nat(1000);

function anyPages(kernel: string, seed: number) {
  return fc.record({
    ...shared(kernel, seed),
    numPages: fc.constantFrom(4, 16),
    pageSize: fc.constantFrom(1, 4, 16),
    grows: fc.boolean(),
    steps: fc.array(
      fc.record({
        /** What happens before the append. */
        event: fc.constantFrom('none' as const, 'add' as const, 'fork' as const, 'free' as const),
        of: fc.array(pick, { minLength: 1, maxLength: 3 }),
        lengths: fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 3, maxLength: 3 }),
        padding: fc.integer({ min: 0, max: 2 }),
      }),
      { minLength: 1, maxLength: 6 },
    ),
  });
}

type Pages = ReturnType<typeof anyPages> extends fc.Arbitrary<infer T> ? T : never;

async function checkPages(device: Device, c: Pages): Promise<Verdict> {
  return withTables(device, c, async (host, rotary) => {
    const random = new Random(c.seed);
    const { numPages, pageSize, version } = c;
    const options = { numPages, pageSize, dtype: version.cacheDType, growth: c.grows ? 'double' : 'error' } as const;
    const run = new PagedRun(device, random, c, options, host);
    using _ = run.cache;
    run.add();
    for (const step of c.steps) {
      const ids = () => [...run.model.keys()];
      const chosen = (of: number) => ids()[of % ids().length];
      if (step.event === 'add' || ids().length === 0) run.add();
      else if (step.event === 'fork') run.fork(chosen(step.of[0]));
      else if (step.event === 'free' && ids().length > 1) run.free(chosen(step.of[0]));
      const taken = [...new Set(step.of.map(chosen))];
      const lengths = step.lengths.slice(0, taken.length);
      if (Math.max(...lengths) + step.padding === 0) continue;
      try {
        run.append(taken, lengths, { padding: step.padding, inDType: 'float32', layout: c.layout, rotary });
      } catch (error) {
        if (error instanceof ArgumentError && !c.grows) return 'refused';
        throw error;
      }
      const held = taken.filter((id) => run.model.get(id)!.length > 0);
      if (held.length === 0) continue;
      const sequences = held.map((id) => ({ tokens: run.model.get(id)!, next: run.model.get(id)!.length }));
      const attend = (q: Tensor, given: object) => run.cache.attend(held, q, { ...given, rotary });
      await expectAttended(device, c, random, attend, sequences, host, c);
    }
    return 'right';
  });
}

// ---- what is fuzzed

/** Those that can read a cache: kernels for tensor cores cannot. */
const kernels = (device: Device) => [
  OWN_CHOICE,
  ...kernelsOf('flashAttention', device).filter((name) => !name.startsWith('matrix')),
];

export const cacheSubjects: readonly Subject[] = [
  subject<Ring>({
    op: 'KeyValueCache',
    direction: 'forward',
    pins: 'flashAttention',
    kernels,
    cases: anyRing,
    check: checkRing,
  }),
  subject<Pages>({
    op: 'PagedKeyValueCache',
    direction: 'forward',
    pins: 'flashAttention',
    kernels,
    cases: anyPages,
    check: checkPages,
  }),
];
