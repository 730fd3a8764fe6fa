import { ArgumentError } from '../gpu/errors.ts';
import type { AttentionResult } from '../ops/attention/internal/call.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatFacts } from '../tensor/print.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { KeyPlaces } from '../kernels/attention.ts';
import { checkChoice, checkCount } from '../ops/internal/check.ts';
import { attend, CACHED_ATTENTION_OPTIONS, type AttendOptions } from './attend.ts';
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

export interface KeyValueCacheOptions extends KeyValueOptions {
  /** Number of sequences, all of the same length. */
  batch: number;
  /** Number of keys that fit, for each sequence. */
  capacity: number;
  /**
   * What happens to a key when the cache is full: `'none'` (the default) refuses it or grows, `'sliding'` replaces the
   * oldest key, except for the first `sinks` ones.
   */
  eviction?: 'none' | 'sliding';
  /** With `eviction: 'sliding'`, how many of the first keys stay forever; default 0. */
  sinks?: number;
  /** Without eviction, whether an append past the capacity is an `'error'` (the default) or doubles it. */
  growth?: 'error' | 'double';
}

export interface AppendOptions {
  /** Rotates the keys by their positions as they are appended: a `RotaryEmbedding`, or tables like its. */
  rotary?: RotaryTables;
}

const OPTIONS = [...ROW_OPTIONS, 'batch', 'capacity', 'eviction', 'sinks', 'growth'];

/**
 * The keys and values of a batch of sequences that grow together, for decoding. They are allocated once, and are appended to
 * and read in place. An append is one small dispatch and allocates nothing below the capacity.
 *
 * With `eviction: 'sliding'` it is a ring (StreamingLLM, Xiao et al. 2023): a new key replaces the oldest, and the first
 * `sinks` stay. Attention then takes as a key's position its place among the keys held, oldest first. So distances, and with
 * them causal masks, windows and ALiBi, are right between all keys except the sinks, which seem to come directly before the
 * other keys. Rotary positions are absolute (`position`), so the tables must reach to the end of the stream.
 * (StreamingLLM's count places in the cache.) Keys are appended before their own queries attend. For each of N new queries
 * to see the W keys up to its own, the ring needs a capacity, without the sinks, of at least W + N − 1.
 */
export class KeyValueCache {
  readonly device: Device;
  readonly #rows: KeyValueOptions;
  readonly #batch: number;
  readonly #slides: boolean;
  readonly #sinks: number;
  readonly #grows: boolean;
  #capacity: number;
  #length = 0;
  #position = 0;
  #storage: CacheStorage;

  /** @throws ArgumentError for options that do not fit, or storage that the device cannot hold */
  constructor(device: Device, options: KeyValueCacheOptions) {
    const op = 'KeyValueCache';
    checkOptions(op, options, OPTIONS);
    const { batch, capacity, eviction = 'none', sinks = 0, growth = 'error', ...rows } = options;
    checkRows(op, rows);
    checkCount(op, 'batch', batch);
    checkCount(op, 'capacity', capacity);
    checkChoice(op, 'eviction', eviction, ['none', 'sliding']);
    checkCount(op, 'sinks', sinks, 0);
    checkChoice(op, 'growth', growth, ['error', 'double']);
    if (eviction === 'none' && sinks > 0) {
      throw new ArgumentError(`${op}: sinks must come with eviction 'sliding', got ${sinks} without`);
    }
    if (sinks >= capacity) throw new ArgumentError(`${op}: sinks must be below the capacity ${capacity}, got ${sinks}`);
    if (eviction === 'sliding' && growth === 'double') {
      throw new ArgumentError(`${op}: growth must be 'error' if keys are evicted, got 'double'`);
    }
    this.device = device;
    this.#rows = rows;
    this.#batch = batch;
    this.#capacity = capacity;
    this.#slides = eviction === 'sliding';
    this.#sinks = sinks;
    this.#grows = growth === 'double';
    this.#storage = allocate(op, device, batch, capacity, rows);
  }

  /** Number of keys held of each sequence. */
  get length(): number {
    return this.#length;
  }

  /** Absolute position of the next key: the number of keys appended to each sequence, without those that `truncate` dropped. */
  get position(): number {
    return this.#position;
  }

  /** Number of keys held of each sequence once `count` more are appended. */
  lengthAfter(count: number): number {
    const position = this.#position + count;
    return this.#slides ? Math.min(position, this.#capacity) : position;
  }

  /** Number of keys that fit, for each sequence. */
  get capacity(): number {
    return this.#capacity;
  }

  /**
   * The cache's own storage of keys, [B, Hkv, capacity, D]: do not dispose it, and read this property again after growth.
   * The contents of slots from `length` on are undefined. The key of position p is in slot p. In a sliding cache, from
   * position `sinks` on, it is in slot sinks + (p − sinks) mod (capacity − sinks).
   */
  get keys(): Tensor {
    return this.#storage.k;
  }

  /** The cache's own storage of values, [B, Hkv, capacity, Dv], laid out like `keys`. */
  get values(): Tensor {
    return this.#storage.v;
  }

  get disposed(): boolean {
    return this.#storage.k.disposed;
  }

  /**
   * Appends N keys and values to each sequence. A sliding cache that cannot hold them all keeps the last ones.
   *
   * @param k [B, Hkv, N, D]; float32 or float16, whatever the cache stores; any strides
   * @param v [B, Hkv, N, Dv], of the same dtype
   * @throws ArgumentError for shapes, dtypes or options that do not fit, or if there is no room; the cache is then as before
   */
  append(k: Tensor, v: Tensor, options: AppendOptions = {}): void {
    const op = 'KeyValueCache.append';
    assertAlive(op, this.#storage);
    checkOptions(op, options, ['rotary']);
    const { rotary } = options;
    const length = checkAppend(op, k, v, this.#batch, this.#storage, rotary);
    const end = this.#position + length;
    checkPositions(op, rotary, end);
    this.#save();
    if (!this.#slides && end > this.#capacity) this.#makeRoom(op, length, end);
    // without eviction, the whole block is a ring in which no key wraps around
    append(op, k, v, this.#storage, { kind: 'ring', position: this.#position, kept: this.#sinks }, rotary);
    this.#position = end;
    this.#length = Math.min(this.#length + length, this.#capacity);
  }

  /**
   * Attention of the queries of the last tokens to the keys held, read in place. Append the tokens first. Takes the options
   * of `flashAttention` except for lengths, which the cache knows. `isCausal` is `'bottom-right'` by default. Options
   * (masks, windows, `queryOffset`, modifiers) count the keys held, oldest first.
   *
   * @param q [B, H, Nq, D] with Hkv dividing H; float32 or float16, whatever the cache stores; any strides
   * @returns output [B, H, Nq, Dv] of q's dtype, and the log-sum-exp if asked for
   * @throws ArgumentError for shapes, dtypes or options that do not fit, and for a cache without keys
   */
  attend(q: Tensor, options: AttendOptions = {}): AttentionResult {
    const op = 'KeyValueCache.attend';
    assertAlive(op, this.#storage);
    checkOptions(op, options, [...CACHED_ATTENTION_OPTIONS, 'rotary']);
    const { length } = this;
    const lengths = Array.from({ length: this.#batch }, () => length);
    const store = { ...this.#storage, batch: this.#batch, lengths, places: this.#places() };
    return attend(op, q, store, options, this.#position - length);
  }

  /**
   * Drops the last keys of each sequence, so that `length` are left, and goes back as many positions. Keys that a sliding cache
   * has evicted do not come back.
   *
   * @param length at most the number of keys held; at least `sinks` once keys were evicted
   * @throws ArgumentError for another length
   */
  truncate(length: number): void {
    const op = 'KeyValueCache.truncate';
    assertAlive(op, this.#storage);
    const least = this.#position > this.#length ? this.#sinks : 0;
    checkTruncation(op, length, least, this.#length);
    this.#save();
    this.#position -= this.#length - length;
    this.#length = length;
  }

  /** Forgets all keys, and keeps the storage. */
  reset(): void {
    assertAlive('KeyValueCache.reset', this.#storage);
    this.#save();
    this.#position = 0;
    this.#length = 0;
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
    if (!(#storage in this)) return 'KeyValueCache';
    const { length, capacity, position } = this;
    const sliding = this.#slides ? { position, eviction: 'sliding', sinks: this.#sinks } : {};
    const growth = this.#grows ? 'double' : undefined;
    const facts = { length, capacity, batch: this.#batch, ...storageFacts(this.#storage), ...sliding, growth };
    return formatFacts('KeyValueCache', facts, this.disposed ? 'disposed' : undefined);
  }

  /** What consoles of Node, Bun and Deno print. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  #save(): void {
    this.device.beforeChange(this, () => {
      const [length, position, storage, capacity] = [this.#length, this.#position, this.#storage, this.#capacity];
      return () => {
        this.#length = length;
        this.#position = position;
        this.#storage = storage;
        this.#capacity = capacity;
      };
    });
  }

  #places(): KeyPlaces {
    if (!this.#slides) return { kind: 'contiguous' };
    const length = this.#capacity - this.#sinks;
    return { kind: 'ring', kept: this.#sinks, start: (this.#position - this.#length) % length, length };
  }

  #makeRoom(op: string, length: number, end: number): void {
    if (!this.#grows) {
      throw new ArgumentError(
        `${op}: key must fit the capacity of ${this.#capacity} keys, of which ${this.#position} are taken, got ${length} more`,
      );
    }
    let capacity = this.#capacity;
    while (capacity < end) capacity *= 2;
    const larger = allocate(op, this.device, this.#batch, capacity, this.#rows);
    if (this.#position > 0) moveRows(op, this.#storage, larger, this.#position);
    else disposeStorage(this.#storage);
    this.#storage = larger;
    this.#capacity = capacity;
  }
}
