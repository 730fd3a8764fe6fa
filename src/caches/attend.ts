import { ArgumentError } from '../gpu/errors.ts';
import { checkPositions, checkRotary, type RotaryTables } from './append.ts';
import type { AttentionResult } from '../ops/attention/internal/attention.ts';
import { cachedAttention, type CachedAttentionOptions, type KeyValueStore } from './cached-attention.ts';
import { checkFloat, checkSameDevice, describe } from '../ops/internal/check.ts';
import { rotaryEmbedding } from '../ops/rotary-embedding.ts';
import { formatShape } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';

export interface AttendOptions extends CachedAttentionOptions {
  /** Rotates the queries by their absolute positions first: what the keys were appended with. */
  rotary?: RotaryTables;
}

/**
 * Attention of q [B, H, Nq, D] to what a cache holds. `queryOffset`, by default the place of the last Nq keys, says where
 * the queries stand among the keys held, and so which positions they are rotated by.
 *
 * @param evicted keys that came before those held
 */
export function attend(
  op: string,
  q: Tensor,
  store: KeyValueStore,
  { rotary, ...options }: AttendOptions,
  evicted = 0,
): AttentionResult {
  const { k, batch, lengths } = store;
  checkFloat(op, 'query', q);
  checkSameDevice(op, 'the cache', k, 'query', q);
  const headDim = k.shape[3];
  if (q.rank !== 4 || q.shape[0] !== batch || q.shape[3] !== headDim) {
    throw new ArgumentError(
      `${op}: query must have shape [${batch}, heads, length, ${headDim}], got ${formatShape(q.shape)}`,
    );
  }
  if (rotary === undefined) return cachedAttention(op, q, store, options);

  checkRotary(op, k, rotary);
  const queries = q.shape[2];
  const { queryOffset = lengths.map((length) => length - queries) } = options;
  const starts = startsOf(op, queryOffset, batch).map((start) => start + evicted);
  const { cos, sin, interleaved } = rotary;
  if (Math.min(...starts) < 0) {
    throw new ArgumentError(
      `${op}: query must have positions from 0 on to be rotated, got rows from ${Math.min(...starts)} on`,
    );
  }
  checkPositions(op, rotary, Math.max(...starts) + queries);
  return q.device.scope(() => {
    const rotated = rotaryEmbedding(q, cos, sin, { offset: starts, interleaved });
    return cachedAttention(op, rotated, store, options);
  });
}

/** The place of each batch entry's first query among the keys held. */
function startsOf(op: string, queryOffset: NonNullable<AttendOptions['queryOffset']>, batch: number): number[] {
  if (queryOffset instanceof Tensor) {
    throw new ArgumentError(
      `${op}: queryOffset must be numbers where queries are rotated, got ${describe(queryOffset)}`,
    );
  }
  const isList = Array.isArray(queryOffset) || queryOffset instanceof Int32Array;
  const starts = isList ? [...queryOffset] : Array.from({ length: batch }, () => queryOffset as number);
  if (starts.length !== batch || !starts.every(Number.isInteger)) {
    throw new ArgumentError(
      `${op}: queryOffset must be an integer, or one for each of ${batch} batch entries, got ${describe(queryOffset)}`,
    );
  }
  return starts;
}
