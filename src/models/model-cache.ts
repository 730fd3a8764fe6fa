import type { AttendOptions } from '../caches/attend.ts';
import { KeyValueCache, type AppendOptions } from '../caches/key-value-cache.ts';
import { checkTruncation } from '../caches/storage.ts';
import { PagedKeyValueCache, type PagedKeyValueCacheOptions } from '../caches/paged-key-value-cache.ts';
import { ArgumentError } from '../gpu/errors.ts';
import type { AttentionResult } from '../ops/attention/internal/call.ts';
import { checkChoice, describe } from '../ops/internal/check.ts';
import type { Device } from '../tensor/device.ts';
import { CACHE_DTYPES, type CacheDType, type FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatFacts } from '../tensor/print.ts';
import { formatShape } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';

export interface ModelCacheOptions {
  /** Number of sequences, all of the same length; default 1. */
  batch?: number;
  /** Number of positions that fit; default all that the model has. */
  capacity?: number;
  /** Dtype of the stored keys and values; default the model's. */
  dtype?: CacheDType;
  /** Dtype of the stored values, if not `dtype`. */
  valueDType?: CacheDType;
  /** With `dtype: 'int4'`, whether keys and queries are multiplied by a Hadamard matrix, as in `KeyValueCache`; default false. */
  hadamard?: boolean;
  /** How keys and values are stored; default `'contiguous'`. */
  kind?: 'contiguous' | 'paged';
  /** Number of keys in a page, a power of two; default 32. */
  pageSize?: number;
}

const OPTIONS = ['batch', 'capacity', 'dtype', 'valueDType', 'hadamard', 'kind', 'pageSize'];

/** Keys and values of one layer, of all sequences. A `KeyValueCache` is one. */
export interface LayerCache {
  append(k: Tensor, v: Tensor, options?: AppendOptions): void;
  /** Attention of q [B, H, N, D], the queries of the last N keys. */
  attend(q: Tensor, options?: AttendOptions): AttentionResult;
  /** Drops the last keys of each sequence, so that `length` are left. */
  truncate(length: number): void;
  reset(): void;
  dispose(): void;
}

/** Sizes of a model. `maxLength` and `dtype` are defaults of the options. */
interface CacheSizes {
  readonly numLayers: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly maxLength: number;
  readonly dtype: FloatDType;
}

/** Checks the options that two calls have, each under its own names. */
export function checkCacheOptions(
  call: string,
  names: Readonly<Record<'dtype' | 'kind', string>>,
  { dtype, kind }: Pick<ModelCacheOptions, 'dtype' | 'kind'>,
): void {
  if (kind !== undefined && kind !== 'contiguous' && kind !== 'paged') {
    throw new ArgumentError(`${call}: ${names.kind} must be 'contiguous' or 'paged', got ${describe(kind)}`);
  }
  if (dtype !== undefined && !CACHE_DTYPES.includes(dtype)) {
    throw new ArgumentError(
      `${call}: ${names.dtype} must be one of ${CACHE_DTYPES.join(', ')}, got ${describe(dtype)}`,
    );
  }
}

/** Options of `LanguageModel.forward`. */
export interface ForwardOptions {
  /** Which positions of the ids get logits: the `'last'` (the default), or `'all'`. */
  logits?: 'last' | 'all';
}

/** @returns whether all positions get logits */
export function checkForwardOptions(call: string, options: ForwardOptions): boolean {
  checkOptions(call, options, ['logits']);
  const { logits = 'last' } = options;
  checkChoice(call, 'logits', logits, ['last', 'all']);
  return logits === 'all';
}

/** @throws ArgumentError unless ids [B, N] may be appended to a cache, and the cache is of a model with `numLayers` layers */
export function checkStep(call: string, ids: Tensor, cache: ModelCache, numLayers: number): void {
  if (!(ids instanceof Tensor) || (ids.dtype !== 'int32' && ids.dtype !== 'uint32')) {
    throw new ArgumentError(`${call}: ids must be an int32 or uint32 tensor, got ${describe(ids)}`);
  }
  const { batch, capacity, length, layers } = cache;
  if (ids.rank !== 2 || ids.shape[0] !== batch) {
    throw new ArgumentError(`${call}: ids must be [${batch}, length] for the cache, got ${formatShape(ids.shape)}`);
  }
  if (layers.length !== numLayers) {
    throw new ArgumentError(`${call}: cache must have the model's ${numLayers} layers, got ${layers.length}`);
  }
  const added = ids.shape[1];
  if (length + added > capacity) {
    throw new ArgumentError(
      `${call}: ids must fit the cache's ${capacity} positions, of which ${length} are taken, got ${added} more`,
    );
  }
}

/**
 * The keys and values of all layers of a model, made by its `createCache`. If `forward` runs out of memory half way through
 * the layers, they hold different numbers of keys. `reset()` makes the cache usable again.
 */
export class ModelCache {
  readonly batch: number;
  readonly capacity: number;
  /** @internal */
  readonly layers: readonly LayerCache[];
  readonly #device: Device;
  #length = 0;
  #disposed = false;

  /** @internal */
  constructor(call: string, device: Device, sizes: CacheSizes, options: ModelCacheOptions) {
    checkOptions(call, options, OPTIONS);
    const { numLayers, numKvHeads, headDim, maxLength } = sizes;
    const { batch = 1, capacity = maxLength, dtype = sizes.dtype, kind = 'contiguous', pageSize = 32 } = options;
    const { valueDType, hadamard } = options;
    checkCacheOptions(call, { dtype: 'dtype', kind: 'kind' }, options);
    for (const [name, value] of Object.entries({ batch, pageSize })) {
      if (!Number.isSafeInteger(value) || value < 1) {
        throw new ArgumentError(`${call}: ${name} must be an integer of at least 1, got ${describe(value)}`);
      }
    }
    if (!Number.isSafeInteger(capacity) || capacity < 1 || capacity > maxLength) {
      throw new ArgumentError(
        `${call}: capacity must be an integer from 1 to the model's ${maxLength} positions, got ${describe(capacity)}`,
      );
    }
    this.#device = device;
    this.batch = batch;
    this.capacity = capacity;
    const layers: LayerCache[] = [];
    const rows = { numKvHeads, headDim, dtype, valueDType, hadamard };
    try {
      for (let layer = 0; layer < numLayers; layer++) {
        layers.push(
          kind === 'paged'
            ? pagedLayer(device, batch, {
                ...rows,
                pageSize,
                numPages: batch * Math.ceil(capacity / pageSize),
              })
            : new KeyValueCache(device, { ...rows, batch, capacity }),
        );
      }
    } catch (error) {
      for (const layer of layers) layer.dispose(); // layers made before memory ran out have no other owner
      throw error;
    }
    this.layers = layers;
  }

  /** Number of positions taken in each sequence. */
  get length(): number {
    return this.#length;
  }

  /** @internal Counts positions, once all layers have appended them. */
  advance(count: number): void {
    this.#save();
    this.#length += count;
  }

  /**
   * Drops the last positions of each sequence, so that `length` are left.
   *
   * @throws ArgumentError unless `length` is an integer from 0 to the number of positions taken
   */
  truncate(length: number): void {
    checkTruncation('ModelCache.truncate', length, 0, this.#length);
    this.#save();
    for (const layer of this.layers) layer.truncate(length);
    this.#length = length;
  }

  /** Forgets all positions, and keeps the storage. */
  reset(): void {
    this.#save();
    for (const layer of this.layers) layer.reset();
    this.#length = 0;
  }

  /** How much it holds of how much fits. */
  toString(): string {
    if (!(#length in this)) return 'ModelCache';
    const { length, capacity, batch, layers } = this;
    const facts = { length, capacity, batch, layers: layers.length };
    return formatFacts('ModelCache', facts, this.#disposed ? 'disposed' : undefined);
  }

  /** What consoles of Node, Bun and Deno print. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  #save(): void {
    this.#device.beforeChange(this, () => {
      const length = this.#length;
      return () => (this.#length = length);
    });
  }

  /** Frees the storage. Calling it again does nothing. */
  dispose(): void {
    this.#disposed = true;
    for (const layer of this.layers) layer.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The cache of a batch of sequences in pages. */
function pagedLayer(device: Device, batch: number, options: PagedKeyValueCacheOptions): LayerCache {
  const cache = new PagedKeyValueCache(device, options);
  const begin = (): number[] => Array.from({ length: batch }, () => cache.add());
  let ids = begin();
  return {
    append: (k, v, how) => cache.append(ids, k, v, how),
    attend: (q, how) => cache.attend(ids, q, how),
    truncate: (length) => {
      for (const id of ids) cache.truncate(id, length);
    },
    reset: () => {
      const before = ids;
      device.beforeChange(begin, () => () => (ids = before));
      for (const id of ids) cache.free(id);
      ids = begin();
    },
    dispose: () => cache.dispose(),
  };
}
