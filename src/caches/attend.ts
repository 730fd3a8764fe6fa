import { ArgumentError } from '../gpu/errors.ts';
import type { AttentionResult } from '../ops/attention/internal/call.ts';
import { checkFloat, checkSameDevice, describe } from '../ops/internal/check.ts';
import { formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { cachedAttention, type CachedAttentionOptions, type KeyValueStore } from './cached-attention.ts';
import { rotateQueries, type RotaryTables } from './rotary.ts';

export interface AttendOptions extends CachedAttentionOptions {
  /** Rotates the queries by their absolute positions first: what the keys were appended with. */
  rotary?: RotaryTables;
}

/**
 * Attention of q [B, H, Nq, D] to what a cache holds. `queryOffset` says where the queries stand among the keys held, and
 * so which positions they are rotated by; by default they stand at the last `lengths` keys, and those at the last Nq.
 *
 * @param evicted keys that came before those held
 */
export function attend(
  op: string,
  q: Tensor,
  store: KeyValueStore,
  { rotary, lengths, ...options }: AttendOptions & { readonly lengths?: readonly number[] },
  evicted = 0,
): AttentionResult {
  const { k, batch } = store;
  checkFloat(op, 'query', q);
  checkSameDevice(op, 'the cache', k, 'query', q);
  const headDim = k.shape[3];
  if (q.rank !== 4 || q.shape[0] !== batch || q.shape[3] !== headDim) {
    throw new ArgumentError(
      `${op}: query must have shape [${batch}, heads, length, ${headDim}], got ${formatShape(q.shape)}`,
    );
  }
  if (lengths !== undefined && options.queryOffset !== undefined) {
    throw new ArgumentError(`${op}: lengths must not come with queryOffset, got both`);
  }
  const counts = checkLengths(op, lengths, batch, q.shape[2]);
  const last = store.lengths.map((length, b) => length - counts[b]);
  if (lengths !== undefined) options.queryOffset = last;
  return q.device.scope(() => {
    const { queryOffset = last } = options;
    let rotated: Tensor = q;
    if (rotary !== undefined) rotated = rotateQueries(op, q, k, rotary, queryOffset, evicted);
    return cachedAttention(op, rotated, store, options);
  });
}

/** @returns how many of the rows are real in each batch entry, the first ones: all `most` unless `lengths` says so */
export function checkLengths(
  op: string,
  lengths: readonly number[] | undefined,
  batch: number,
  most: number,
): readonly number[] {
  if (lengths === undefined) return Array.from({ length: batch }, () => most);
  const valid =
    Array.isArray(lengths) &&
    lengths.length === batch &&
    lengths.every((length) => Number.isInteger(length) && length >= 0 && length <= most);
  if (!valid) {
    throw new ArgumentError(
      `${op}: lengths must be ${batch} integers from 0 to ${most}, one for each sequence, got ${describe(lengths)}`,
    );
  }
  return [...lengths];
}
