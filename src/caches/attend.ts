import { ArgumentError } from '../gpu/errors.ts';
import type { KeyPlaces } from '../kernels/attention.ts';
import { keyStorage, type RowFormat } from '../kernels/codes.ts';
import { attendStored } from '../ops/attention/fused-attention.ts';
import type { AttentionResult } from '../ops/attention/internal/call.ts';
import { ATTENTION_OPTIONS, type AttentionOptions } from '../ops/attention/internal/options.ts';
import { axesLike } from '../ops/internal/heads.ts';
import { product } from '../ops/internal/product.ts';
import { recordProduct } from '../ops/internal/matmul-gradient.ts';
import { checkFloat, checkSameDevice, describe } from '../ops/internal/check.ts';
import { formatShape, largestOf } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { rotationOf, type RotaryTables } from './rotary.ts';

/** The options of attention, except for the lengths, which the cache knows. */
export type CachedAttentionOptions = Omit<AttentionOptions, 'keyLengths' | 'queryOffsets' | 'keyOffsets'>;

export const CACHED_ATTENTION_OPTIONS = ATTENTION_OPTIONS.filter(
  (name) => name !== 'keyLengths' && name !== 'queryOffsets' && name !== 'keyOffsets',
);

/** What a cache holds. */
export interface KeyValueStore {
  /** [B, Hkv, capacity, D]; in pages [numPages, Hkv, pageSize, D]. Rows of codes are uint32 words, in place of D. */
  readonly k: Tensor;
  /** The same with Dv. */
  readonly v: Tensor;
  readonly keyRows: RowFormat;
  readonly valueRows: RowFormat;
  /** Symmetric [D, D], by which the stored keys were multiplied. */
  readonly hadamard?: Tensor;
  readonly batch: number;
  /** Keys of each batch entry. */
  readonly lengths: readonly number[];
  readonly places: KeyPlaces;
}

export interface AttendOptions extends CachedAttentionOptions {
  /** Rotates the queries by their absolute positions first. Pass the tables that the keys were appended with. */
  rotary?: RotaryTables;
}

/**
 * Attention of q [B, H, Nq, D] to what a cache holds. Queries may be float32 or float16, whatever the cache stores. The result has
 * the query's dtype. `isCausal` is 'bottom-right' by default. Masks are over the keys that the longest batch entry holds.
 * `queryOffset` is the position of the first query among the keys held, and decides by which positions the queries are
 * rotated. By default the queries are at the last `lengths` keys, and `lengths` is Nq by default.
 *
 * @param evicted number of keys that the cache no longer holds
 */
export function attend(
  op: string,
  q: Tensor,
  store: KeyValueStore,
  { rotary, lengths, ...options }: AttendOptions & { readonly lengths?: readonly number[] },
  evicted = 0,
): AttentionResult {
  const { k, v, keyRows, valueRows, batch, places } = store;
  checkFloat(op, 'query', q);
  checkSameDevice(op, 'the cache', k, 'query', q);
  const headDim = keyRows.dim;
  if (q.rank !== 4 || q.shape[0] !== batch || q.shape[3] !== headDim) {
    throw new ArgumentError(
      `${op}: query must have shape [${batch}, heads, length, ${headDim}], got ${formatShape(q.shape)}`,
    );
  }
  if (lengths !== undefined && options.queryOffset !== undefined) {
    throw new ArgumentError(`${op}: lengths must not come with queryOffset, got both`);
  }
  const keyLength = largestOf(store.lengths);
  if (keyLength === 0) throw new ArgumentError(`${op}: the cache must hold keys, got none`);
  const counts = checkLengths(op, lengths, batch, q.shape[2]);
  const last = store.lengths.map((length, b) => length - counts[b]);
  const all: AttentionOptions = {
    ...options,
    isCausal: options.isCausal ?? 'bottom-right',
    ...(lengths !== undefined && { queryOffset: last }),
    ...(store.lengths.some((length) => length !== keyLength) && { keyLengths: store.lengths }),
  };
  const { queryOffset = last } = all;
  const turn = rotary === undefined ? undefined : rotationOf(op, q, store, rotary, queryOffset, evicted);
  const { hadamard } = store;
  const rotate = hadamard ? () => transformed(op, turn?.() ?? q, hadamard) : turn;
  const storage = keyStorage(keyRows.dtype, valueRows.dtype);
  return attendStored(op, { q, k, v }, { keyLength, places, valueDim: valueRows.dim, storage, rotate }, all);
}

/** Queries times the matrix by which keys were multiplied. A scope of the caller's frees them. */
function transformed(op: string, q: Tensor, hadamard: Tensor): Tensor {
  const output = product(op, q, hadamard, { outAxes: axesLike(q) });
  recordProduct(op, { a: q, b: hadamard }, output, { a: false, b: false });
  return output;
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
