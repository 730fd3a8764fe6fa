/** Attention of queries to keys and values that a cache holds, read where they lie. */
import { ArgumentError } from '../gpu/errors.ts';
import type { KeyPlaces } from '../kernels/attention.ts';
import { attendStored } from '../ops/attention/fused-attention.ts';
import type { AttentionResult } from '../ops/attention/internal/call.ts';
import { ATTENTION_OPTIONS, type AttentionOptions } from '../ops/attention/internal/options.ts';
import type { Tensor } from '../tensor/tensor.ts';

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
  { k, v, lengths, places }: KeyValueStore,
  options: CachedAttentionOptions = {},
): AttentionResult {
  const longest = Math.max(...lengths);
  if (longest === 0) throw new ArgumentError(`${op}: the cache must hold keys, got none`);
  return attendStored(
    op,
    { q, k, v },
    { keyLength: longest, places },
    {
      ...options,
      isCausal: options.isCausal ?? 'bottom-right',
      ...(lengths.some((length) => length !== longest) && { keyLengths: lengths }),
    },
  );
}
