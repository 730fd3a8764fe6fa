/** Attention of queries to keys and values that a cache holds, read where they lie. */
import { ArgumentError } from '../gpu/errors.ts';
import { planFlashAttention } from '../kernels/flash-attention.ts';
import type { Tensor } from '../tensor/tensor.ts';
import {
  checkAttention,
  ATTENTION_OPTIONS,
  type AttentionOptions,
  type AttentionResult,
} from '../ops/attention/internal/attention.ts';
import { checkFloat } from '../ops/internal/check.ts';
import { runFused, type CacheKeys } from '../ops/attention/internal/fused-attention.ts';

/**
 * Where the keys of a cache lie, oldest first. `ring`: key j < kept in row j, the others in row kept + (start + j − kept)
 * mod length. `paged`: row j mod pageSize of page pages[batch entry][⌊j / pageSize⌋].
 */
export type KeyPlaces =
  | { readonly kind: 'contiguous' }
  | { readonly kind: 'ring'; readonly kept: number; readonly start: number; readonly length: number }
  | { readonly kind: 'paged'; readonly pageSize: number; readonly pages: readonly (readonly number[])[] };

/** What a cache holds. */
export interface KeyValueStore {
  /** [B, Hkv, capacity, D], or of pages [numPages, Hkv, pageSize, D]. */
  readonly k: Tensor;
  /** The same with Dv. */
  readonly v: Tensor;
  readonly batch: number;
  /** Keys of each batch entry. */
  readonly lengths: readonly number[];
  readonly places: KeyPlaces;
}

/** Those of attention but for the lengths, which the cache knows, and for masks, whose length it changes. */
export type CachedAttentionOptions = Omit<AttentionOptions, 'keyLengths' | 'queryOffsets' | 'keyOffsets'>;

/** Of a cache's attention: the lengths are its own. */
export const CACHED_ATTENTION_OPTIONS = ATTENTION_OPTIONS.filter(
  (name) => name !== 'keyLengths' && name !== 'queryOffsets' && name !== 'keyOffsets',
);

/**
 * Attention of q [B, H, Nq, D] to a cache's keys. float32 queries may read a float16 cache; the result has the query's
 * dtype. `isCausal` is 'bottom-right' unless given: the queries are those of the last keys. Masks are over the keys that
 * the longest batch entry holds.
 */
export function cachedAttention(
  op: string,
  q: Tensor,
  { k, v, batch, lengths, places }: KeyValueStore,
  options: CachedAttentionOptions = {},
): AttentionResult {
  checkFloat(op, 'query', q);
  const longest = Math.max(...lengths);
  if (longest === 0) throw new ArgumentError(`${op}: the cache must hold keys, got none`);
  if (q.rank !== 4) {
    throw new ArgumentError(`${op}: query must be [batch, heads, length, headDim], got rank ${q.rank}`);
  }
  return q.device.scope(() => {
    // the logical keys as a view: only its shape is looked at where they do not lie in it one after the other
    const view = (tensor: Tensor) =>
      places.kind === 'paged' ? paged(tensor, batch, longest) : tensor.slice(2, 0, longest);
    const [keys, values] = [view(k), view(v)];
    const varies = lengths.some((length) => length !== longest);
    const all: AttentionOptions = {
      ...options,
      isCausal: options.isCausal ?? 'bottom-right',
      ...(varies && { keyLengths: lengths }),
    };
    const args = checkAttention(op, q, keys, values, all, ATTENTION_OPTIONS, { mixesDTypes: true });
    const strides = ({ strides: stored, offset }: Tensor) => ({ strides: stored, offset });
    const problem = {
      ...args.problem,
      kernelsOf: 'flashAttention',
      ...(places.kind === 'paged' && { k: strides(k), v: strides(v) }),
    };
    const inputs = { q, k, v, mask: options.mask, keyMask: options.keyMask };
    return runFused({ ...args, problem }, inputs, planFlashAttention, cacheKeys(places));
  });
}

/** A view of the logical shape [B, Hkv, length, D] for checks; pages are not read through it. */
function paged(tensor: Tensor, batch: number, length: number): Tensor {
  const [, heads, , dim] = tensor.shape;
  return tensor.slice(0, 0, 1).slice(2, 0, 1).expand([batch, heads, length, dim]);
}

function cacheKeys(places: KeyPlaces): CacheKeys {
  const { kind, ...rest } = places;
  if (places.kind !== 'paged') return { layout: kind, ...rest } as CacheKeys;
  const pitch = Math.max(...places.pages.map((pages) => pages.length));
  const words = new Uint32Array(pitch * places.pages.length);
  places.pages.forEach((pages, entry) => words.set(pages, entry * pitch));
  return { layout: 'paged', pageSize: places.pageSize, pages: { words }, pitch };
}
