/** Rotary tables that are given to a cache: checks that they fit its keys, and rotates its queries. */
import { ArgumentError } from '../gpu/errors.ts';
import type { RowFormat } from '../kernels/codes.ts';
import type { AttentionOptions } from '../ops/attention/internal/options.ts';
import { checkBoolean, checkSameDevice, checkTensor, describe } from '../ops/internal/check.ts';
import { rotate } from '../ops/internal/rotate.ts';
import { formatShape, largestOf } from '../tensor/shape.ts';
import { Tensor, type FloatTensor } from '../tensor/tensor.ts';

type QueryOffset = NonNullable<AttentionOptions['queryOffset']>;

/** The angles of a rotary position embedding; a `RotaryEmbedding` is one. */
export interface RotaryTables {
  /** float32 [P, R / 2]: cos and sin of position × frequency; the first R elements of a key are rotated. Any strides. */
  readonly cos: Tensor;
  readonly sin: Tensor;
  /** Pairs are neighbours (2j, 2j + 1); default false: (j, j + R / 2). */
  readonly interleaved?: boolean;
}

/** Where a cache keeps its keys, and how. */
interface StoredKeys {
  readonly k: Tensor;
  readonly keyRows: RowFormat;
}

/** @throws ArgumentError unless a cache's keys can be rotated by the tables */
export function checkRotary(op: string, { k, keyRows }: StoredKeys, rotary: RotaryTables): void {
  if (rotary === null || typeof rotary !== 'object') {
    throw new ArgumentError(`${op}: rotary must be a RotaryEmbedding or tables { cos, sin }, got ${describe(rotary)}`);
  }
  const { cos, sin, interleaved } = rotary;
  for (const [name, table] of [
    ['rotary.cos', cos],
    ['rotary.sin', sin],
  ] as const) {
    checkTensor(op, name, table);
    checkSameDevice(op, 'the cache', k, name, table);
    if (table.dtype !== 'float32' || table.rank !== 2) {
      throw new ArgumentError(`${op}: ${name} must be float32 of two axes, got ${describe(table)}`);
    }
  }
  checkBoolean(op, 'rotary.interleaved', interleaved);
  if (formatShape(sin.shape) !== formatShape(cos.shape)) {
    throw new ArgumentError(`${op}: rotary.sin must have cos's shape ${formatShape(cos.shape)}, got ${describe(sin)}`);
  }
  const headDim = keyRows.dim;
  if (2 * cos.shape[1] > headDim) {
    throw new ArgumentError(
      `${op}: rotary.cos must have at most ${Math.floor(headDim / 2)} columns, half the headDim, got ${cos.shape[1]}`,
    );
  }
}

/** @throws ArgumentError unless the tables reach to the position before `end` */
export function checkPositions(op: string, rotary: RotaryTables | undefined, end: number): void {
  if (rotary && end > rotary.cos.shape[0]) {
    throw new ArgumentError(`${op}: rotary must have tables of at least ${end} positions, got ${rotary.cos.shape[0]}`);
  }
}

/**
 * What rotates queries [B, H, Nq, D] of a cache, checked but not yet done.
 *
 * @param keys the cache's own
 * @param queryOffset the place of each batch entry's first query among the keys held
 * @param evicted number of keys that the cache no longer holds
 */
export function rotationOf(
  op: string,
  q: FloatTensor,
  keys: StoredKeys,
  rotary: RotaryTables,
  queryOffset: QueryOffset,
  evicted: number,
): () => Tensor {
  checkRotary(op, keys, rotary);
  const offsets = placesOf(op, queryOffset, q.shape[0]).map((place) => place + evicted);
  const first = -largestOf(offsets.map((offset) => -offset));
  if (first < 0) {
    throw new ArgumentError(`${op}: query must have positions from 0 on to be rotated, got rows from ${first} on`);
  }
  checkPositions(op, rotary, largestOf(offsets) + q.shape[2]);
  return () => rotate(op, q, rotary, { offsets, interleaved: rotary.interleaved ?? false });
}

/** One place for each batch entry. */
function placesOf(op: string, queryOffset: QueryOffset, batch: number): number[] {
  if (queryOffset instanceof Tensor) {
    throw new ArgumentError(`${op}: queryOffset must be numbers if queries are rotated, got ${describe(queryOffset)}`);
  }
  const isList = Array.isArray(queryOffset) || queryOffset instanceof Int32Array;
  const places = isList ? [...queryOffset] : Array.from({ length: batch }, () => queryOffset as number);
  if (places.length !== batch || !places.every(Number.isInteger)) {
    throw new ArgumentError(
      `${op}: queryOffset must be an integer, or one for each of ${batch} batch entries, got ${describe(queryOffset)}`,
    );
  }
  return places;
}
