import { KeyValueCache } from '../caches/key-value-cache.ts';
import { PagedKeyValueCache } from '../caches/paged-key-value-cache.ts';
import { ArgumentError } from '../gpu/errors.ts';
import type { RotaryEmbedding } from '../modules/rotary-embedding.ts';
import { describe } from '../ops/internal/check.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { LlamaConfig } from './llama-checkpoint.ts';

export interface LlamaCacheOptions {
  /** Sequences side by side, all of one length; default 1. */
  batch?: number;
  /** Positions that there is room for; default all that the model has. */
  capacity?: number;
  /** What keys and values are stored in; default the model's dtype. */
  dtype?: FloatDType;
  /** Default `'contiguous'`. */
  kind?: 'contiguous' | 'paged';
  /** Keys of a page, a power of two; default 32. */
  pageSize?: number;
}

const OPTIONS = ['batch', 'capacity', 'dtype', 'kind', 'pageSize'];

/** What a layer needs of its cache. */
export interface LayerCache {
  append(k: Tensor, v: Tensor): void;
  /** [B, H, N, D] for the last N keys' queries q [B, H, N, D], not rotated yet. */
  attend(q: Tensor): Tensor;
  reset(): void;
  dispose(): void;
}

/** What two calls check, each under its own names. */
export function checkCacheOptions(
  call: string,
  names: Readonly<Record<'dtype' | 'kind', string>>,
  { dtype, kind }: Pick<LlamaCacheOptions, 'dtype' | 'kind'>,
): void {
  if (kind !== undefined && kind !== 'contiguous' && kind !== 'paged') {
    throw new ArgumentError(`${call}: ${names.kind} must be 'contiguous' or 'paged', got ${describe(kind)}`);
  }
  if (dtype !== undefined && dtype !== 'float32' && dtype !== 'float16') {
    throw new ArgumentError(`${call}: ${names.dtype} must be float32 or float16, got ${describe(dtype)}`);
  }
}

/**
 * The keys and values of all layers of a `Llama`, made by its `createCache`. Where `forward` fails half way through the
 * layers, for want of memory, they hold different numbers of keys: `reset()` makes it usable again.
 */
export class LlamaCache {
  readonly batch: number;
  readonly capacity: number;
  /** @internal */
  readonly layers: readonly LayerCache[];
  #length = 0;

  constructor(device: Device, config: LlamaConfig, rotary: RotaryEmbedding, options: Required<LlamaCacheOptions>) {
    const call = 'Llama.createCache';
    checkOptions(call, options, OPTIONS);
    const { batch, capacity, dtype, kind, pageSize } = options;
    checkCacheOptions(call, { dtype: 'dtype', kind: 'kind' }, options);
    for (const [name, value] of Object.entries({ batch, pageSize })) {
      if (!Number.isSafeInteger(value) || value < 1) {
        throw new ArgumentError(`${call}: ${name} must be an integer of at least 1, got ${describe(value)}`);
      }
    }
    if (!Number.isSafeInteger(capacity) || capacity < 1 || capacity > rotary.maxLength) {
      throw new ArgumentError(
        `${call}: capacity must be an integer from 1 to the model's ${rotary.maxLength} positions, got ${describe(capacity)}`,
      );
    }
    this.batch = batch;
    this.capacity = capacity;
    const layers: LayerCache[] = [];
    const { numKvHeads, headDim, numLayers } = config;
    const rows = { numKvHeads, headDim, dtype };
    try {
      for (let layer = 0; layer < numLayers; layer++) {
        layers.push(
          kind === 'paged'
            ? pagedLayer(device, { ...rows, batch, capacity, pageSize }, rotary)
            : contiguousLayer(new KeyValueCache(device, { ...rows, batch, capacity }), rotary),
        );
      }
    } catch (error) {
      for (const layer of layers) layer.dispose(); // what was made before memory ran out has no other owner
      throw error;
    }
    this.layers = layers;
  }

  /** Positions taken in each sequence. */
  get length(): number {
    return this.#length;
  }

  /** @internal Called when all layers have appended. */
  advance(count: number): void {
    this.#length += count;
  }

  /** Forgets all positions; the storage stays. */
  reset(): void {
    for (const layer of this.layers) layer.reset();
    this.#length = 0;
  }

  /** Frees the storage. Calling it again does nothing. */
  dispose(): void {
    for (const layer of this.layers) layer.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function contiguousLayer(cache: KeyValueCache, rotary: RotaryEmbedding): LayerCache {
  return {
    append: (k, v) => cache.append(k, v, { rotary }),
    attend: (q) => cache.attend(q, { rotary }).output,
    reset: () => cache.reset(),
    dispose: () => cache.dispose(),
  };
}

function pagedLayer(
  device: Device,
  options: { numKvHeads: number; headDim: number; dtype: FloatDType } & Record<
    'batch' | 'capacity' | 'pageSize',
    number
  >,
  rotary: RotaryEmbedding,
): LayerCache {
  const { batch, capacity, pageSize, ...rows } = options;
  const numPages = batch * Math.ceil(capacity / pageSize);
  const cache = new PagedKeyValueCache(device, { ...rows, numPages, pageSize });
  const begin = (): number[] => Array.from({ length: batch }, () => cache.add());
  let ids = begin();
  return {
    append: (k, v) => cache.append(ids, k, v, { rotary }),
    attend: (q) => cache.attend(ids, q, { rotary }).output,
    reset: () => {
      for (const id of ids) cache.free(id);
      ids = begin();
    },
    dispose: () => cache.dispose(),
  };
}
