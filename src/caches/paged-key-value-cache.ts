import { ArgumentError } from '../gpu/errors.ts';
import type { AttentionResult } from '../ops/attention/internal/call.ts';
import { checkChoice, checkCount, describe } from '../ops/internal/check.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatFacts } from '../tensor/print.ts';
import { largestOf } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { attend, CACHED_ATTENTION_OPTIONS, checkLengths, type AttendOptions } from './attend.ts';
import { assignPages, PagePool, planAdditions, type Sequence } from './pages.ts';
import { checkPositions, type RotaryTables } from './rotary.ts';
import {
  allocate,
  append,
  assertAlive,
  checkAppend,
  checkRows,
  checkTruncation,
  disposeStorage,
  moveRows,
  ROW_OPTIONS,
  storageFacts,
  type CacheStorage,
  type KeyValueOptions,
} from './storage.ts';

export interface PagedKeyValueCacheOptions extends KeyValueOptions {
  /** Number of pages that all sequences share. */
  numPages: number;
  /** Number of keys in a page, a power of two. */
  pageSize: number;
  /** Whether an append with too few free pages is an `'error'` (the default) or doubles the pool. */
  growth?: 'error' | 'double';
}

export interface PagedAppendOptions {
  /** Rotates the keys by their positions as they are appended: a `RotaryEmbedding`, or tables like its. */
  rotary?: RotaryTables;
  /** How many of the N rows are real in each batch entry, counted from the first; default N. */
  lengths?: readonly number[];
}

export interface PagedAttendOptions extends AttendOptions {
  /**
   * How many of the Nq rows are real in each batch entry, as in `append`. The real rows are the queries of the last keys.
   * Takes the place of `queryOffset`; default Nq. With `rotary`, the tables must reach the last row, real or not.
   */
  lengths?: readonly number[];
}

const OPTIONS = [...ROW_OPTIONS, 'numPages', 'pageSize', 'growth'];

/**
 * The keys and values of any number of sequences, in pages of one pool (PagedAttention, Kwon et al. 2023). A sequence
 * takes a page when it needs one. `fork` shares pages between sequences until one of them writes (copy-on-write). `free`
 * returns the pages to the pool.
 *
 * A freed page may go to another sequence while recorded work that reads it is still pending. That is safe, because commands
 * run in the order in which they were recorded.
 */
export class PagedKeyValueCache {
  readonly device: Device;
  readonly pageSize: number;
  readonly #rows: KeyValueOptions;
  readonly #grows: boolean;
  readonly #pool: PagePool;
  #sequences = new Map<number, Sequence>();
  #nextId = 0;
  #storage: CacheStorage;

  /** @throws ArgumentError for options that do not fit, or storage that the device cannot hold */
  constructor(device: Device, options: PagedKeyValueCacheOptions) {
    const op = 'PagedKeyValueCache';
    checkOptions(op, options, OPTIONS);
    const { numPages, pageSize, growth = 'error', ...rows } = options;
    checkRows(op, rows);
    checkCount(op, 'numPages', numPages);
    checkCount(op, 'pageSize', pageSize);
    if (!Number.isInteger(Math.log2(pageSize))) {
      throw new ArgumentError(`${op}: pageSize must be a power of two, got ${pageSize}`);
    }
    checkChoice(op, 'growth', growth, ['error', 'double']);
    this.device = device;
    this.pageSize = pageSize;
    this.#rows = rows;
    this.#grows = growth === 'double';
    this.#storage = allocate(op, device, numPages, pageSize, rows);
    this.#pool = new PagePool(numPages);
  }

  /** Number of pages, free or not. */
  get numPages(): number {
    return this.#pool.size;
  }

  get freePages(): number {
    return this.#pool.free;
  }

  /** The cache's own storage of keys, [numPages, Hkv, pageSize, D]: do not dispose it, and read it again after growth. */
  get keys(): Tensor {
    return this.#storage.k;
  }

  /** The cache's own storage of values, [numPages, Hkv, pageSize, Dv], laid out like `keys`. */
  get values(): Tensor {
    return this.#storage.v;
  }

  get disposed(): boolean {
    return this.#storage.k.disposed;
  }

  /** Adds a sequence without keys, and returns its id, which is never used again. It takes a page only when it needs one. */
  add(): number {
    assertAlive('PagedKeyValueCache.add', this.#storage);
    return this.#enter({ length: 0, pages: [] });
  }

  /**
   * Adds a sequence with another's keys, without copying them. Both hold the same pages, and whichever appends first to a
   * partly filled page gets its own copy of it.
   *
   * @throws ArgumentError unless `id` is the id of a sequence
   */
  fork(id: number): number {
    const op = 'PagedKeyValueCache.fork';
    assertAlive(op, this.#storage);
    const { length, pages } = this.#sequence(op, 'id', id);
    this.#save();
    for (const page of pages) this.#pool.share(page);
    return this.#enter({ length, pages: [...pages] });
  }

  /**
   * Ends a sequence and frees the pages that no other sequence holds.
   *
   * @throws ArgumentError unless `id` is the id of a sequence that has not been freed
   */
  free(id: number): void {
    const op = 'PagedKeyValueCache.free';
    assertAlive(op, this.#storage);
    const { pages } = this.#sequence(op, 'id', id);
    this.#save();
    for (const page of pages.toReversed()) this.#pool.release(page);
    this.#sequences.delete(id);
  }

  /**
   * Drops the last keys of a sequence, so that `length` are left, and frees the pages that no other sequence holds. A later
   * append to a page that another sequence holds too copies it first, as after `fork`.
   *
   * @param length at most the number of keys of the sequence
   * @throws ArgumentError unless `id` is the id of a sequence that has that many keys
   */
  truncate(id: number, length: number): void {
    const op = 'PagedKeyValueCache.truncate';
    assertAlive(op, this.#storage);
    const sequence = this.#sequence(op, 'id', id);
    checkTruncation(op, length, 0, sequence.length);
    this.#save();
    const dropped = sequence.pages.splice(Math.ceil(length / this.pageSize));
    for (const page of dropped.reverse()) this.#pool.release(page);
    sequence.length = length;
  }

  /** Number of keys of a sequence. */
  length(id: number): number {
    return this.#sequence('PagedKeyValueCache.length', 'id', id).length;
  }

  /** The pages of a sequence, first to last: key j is in row j mod pageSize of the ⌊j / pageSize⌋-th of them. */
  pages(id: number): readonly number[] {
    return [...this.#sequence('PagedKeyValueCache.pages', 'id', id).pages];
  }

  /**
   * Appends up to N keys and values to each of some sequences: the first `lengths[b]` rows of entry b of k and v to
   * `ids[b]`.
   *
   * @param ids B different sequences
   * @param k [B, Hkv, N, D]; float32 or float16, whatever the cache stores; any strides
   * @param v [B, Hkv, N, Dv], of the same dtype
   * @throws ArgumentError for ids, shapes, dtypes or options that do not fit, or if pages are missing; the cache is then as
   *   before
   */
  append(ids: readonly number[], k: Tensor, v: Tensor, options: PagedAppendOptions = {}): void {
    const op = 'PagedKeyValueCache.append';
    assertAlive(op, this.#storage);
    checkOptions(op, options, ['rotary', 'lengths']);
    const { rotary, lengths } = options;
    const sequences = this.#batch(op, ids);
    if (new Set(ids).size < ids.length) {
      throw new ArgumentError(`${op}: ids must be different sequences, got ${describe(ids)}`);
    }
    const length = checkAppend(op, k, v, ids.length, this.#storage, rotary);
    const counts = checkLengths(op, lengths, ids.length, length);
    if (largestOf(counts) === 0) return;
    const ends = sequences.map((sequence, b) => (counts[b] > 0 ? sequence.length + counts[b] : 0));
    checkPositions(op, rotary, largestOf(ends));
    this.#save();

    const additions = planAdditions(sequences, counts, this.pageSize, (page) => this.#pool.holders(page));
    const wanted = additions.reduce((sum, addition) => sum + addition.wanted, 0);
    if (wanted > this.#pool.free) this.#makeRoom(op, wanted);
    const taken = this.#pool.take(wanted);
    const entries = assignPages(additions, taken);
    const copies = additions.flatMap(({ partial, copies, sequence }, b) =>
      copies ? { from: partial!, to: entries[b].pages[0], rows: sequence.length % this.pageSize } : [],
    );
    try {
      append(op, k, v, this.#storage, { kind: 'paged', entries, copies }, rotary);
    } catch (error) {
      for (const page of taken.reverse()) this.#pool.release(page);
      throw error;
    }
    sequences.forEach((sequence, b) => {
      if (counts[b] > 0) sequence.pages.splice(Math.floor(sequence.length / this.pageSize), 1, ...entries[b].pages);
      sequence.length += counts[b];
    });
    for (const { from } of copies) this.#pool.release(from);
  }

  /**
   * Attention of queries to the keys of sequences, read in their pages: entry b of q to all keys of `ids[b]`. Append the
   * tokens of the queries first. Takes the options of `flashAttention` except for key lengths, which the cache knows.
   * `isCausal` is `'bottom-right'` by default.
   *
   * @param ids B sequences
   * @param q [B, H, Nq, D] with Hkv dividing H; float32 or float16, whatever the cache stores; any strides
   * @returns output [B, H, Nq, Dv] of q's dtype, and the log-sum-exp if asked for; rows past `lengths` are meaningless
   * @throws ArgumentError for ids, shapes, dtypes or options that do not fit, and if no sequence has keys
   */
  attend(ids: readonly number[], q: Tensor, options: PagedAttendOptions = {}): AttentionResult {
    const op = 'PagedKeyValueCache.attend';
    assertAlive(op, this.#storage);
    checkOptions(op, options, [...CACHED_ATTENTION_OPTIONS, 'rotary', 'lengths']);
    const sequences = this.#batch(op, ids);
    const store = {
      ...this.#storage,
      batch: ids.length,
      lengths: sequences.map(({ length }) => length),
      places: { kind: 'paged' as const, pageSize: this.pageSize, pages: sequences.map(({ pages }) => pages) },
    };
    return attend(op, q, store, options);
  }

  /** Frees the storage; work that was recorded before still reads it. Calling it again does nothing. */
  dispose(): void {
    disposeStorage(this.#storage);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** How much it holds, and how its storage is laid out. */
  toString(): string {
    if (!(#storage in this)) return 'PagedKeyValueCache';
    const { freePages, numPages, pageSize } = this;
    const lengths = [...this.#sequences.values()].map(({ length }) => length);
    const growth = this.#grows ? 'double' : undefined;
    const facts = {
      sequences: this.#sequences.size,
      lengths,
      freePages,
      numPages,
      pageSize,
      ...storageFacts(this.#storage),
      growth,
    };
    return formatFacts('PagedKeyValueCache', facts, this.disposed ? 'disposed' : undefined);
  }

  /** What consoles of Node, Bun and Deno print. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  #makeRoom(op: string, wanted: number): void {
    const { size, free } = this.#pool;
    if (!this.#grows) {
      throw new ArgumentError(`${op}: key must fit the free pages, of which there are ${free}, got rows for ${wanted}`);
    }
    let larger = size;
    while (larger - size + free < wanted) larger *= 2;
    const storage = allocate(op, this.device, larger, this.pageSize, this.#rows);
    moveRows(op, this.#storage, storage, this.pageSize);
    this.#storage = storage;
    this.#pool.grow(larger);
  }

  #save(): void {
    this.device.beforeChange(this, () => {
      const [nextId, storage, restorePool] = [this.#nextId, this.#storage, this.#pool.save()];
      const sequences = new Map<number, Sequence>();
      for (const [id, { length, pages }] of this.#sequences) sequences.set(id, { length, pages: [...pages] });
      return () => {
        this.#nextId = nextId;
        this.#storage = storage;
        restorePool();
        this.#sequences = sequences;
      };
    });
  }

  #enter(sequence: Sequence): number {
    this.#save();
    this.#sequences.set(this.#nextId, sequence);
    return this.#nextId++;
  }

  #sequence(op: string, name: string, id: unknown): Sequence {
    const sequence = this.#sequences.get(id as number);
    if (!sequence) {
      throw new ArgumentError(`${op}: ${name} must be a sequence that was added and not freed, got ${describe(id)}`);
    }
    return sequence;
  }

  #batch(op: string, ids: readonly number[]): Sequence[] {
    if (!Array.isArray(ids) || ids.length === 0) {
      throw new ArgumentError(`${op}: ids must be an array of at least one sequence, got ${describe(ids)}`);
    }
    return ids.map((id, b) => this.#sequence(op, `ids[${b}]`, id));
  }
}
