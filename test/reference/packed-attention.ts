/**
 * Attention over sequences of different lengths that lie behind one another, each to itself.
 *
 *     output[…, i] of sequence s, queryOffsets[s] ≤ i < queryOffsets[s + 1], is attention(q, k, v) of its own queries and keys
 *
 * q [1, H, Σ Nq, D], k [1, Hkv, Σ Nk, D], v [1, Hkv, Σ Nk, Dv] → output [1, H, Σ Nq, Dv], weights [1, H, Σ Nq, Σ Nk], logSumExp
 * [1, H, Σ Nq]. Options are those of attention.ts, in which sequence s is batch entry s, and its queries and keys count from 0.
 */
import { attention, type AttentionOptions, type AttentionResult } from './attention.ts';
import { type Float64HostArray, type HostArray, slice, zeros } from './host-array.ts';

export interface PackedOptions extends Omit<AttentionOptions, 'mask' | 'keyMask' | 'keyLengths'> {
  /** [n + 1]: where each sequence's queries begin, and where the last one's end. */
  queryOffsets: readonly number[];
  keyOffsets: readonly number[];
}

export function packedAttention(q: HostArray, k: HostArray, v: HostArray, options: PackedOptions): AttentionResult {
  const { queryOffsets, keyOffsets, returnScores, ...shared } = options;
  const [, heads, queries] = q.shape;
  const [, , keys, valueDim] = v.shape;
  const output = zeros([1, heads, queries, valueDim]);
  const weights = zeros([1, heads, queries, keys]);
  const logSumExp = zeros([1, heads, queries]);
  const scores = returnScores && zeros([1, heads, queries, keys]);
  if (scores) scores.data.fill(-Infinity);
  for (let s = 0; s + 1 < queryOffsets.length; s++) {
    const [firstQuery, lastQuery] = queryOffsets.slice(s);
    const [firstKey, lastKey] = keyOffsets.slice(s);
    const { alibiSlopes, queryOffset, scoreMod, maskMod } = shared;
    const part = attention(
      slice(q, 2, firstQuery, lastQuery),
      slice(k, 2, firstKey, lastKey),
      slice(v, 2, firstKey, lastKey),
      {
        ...shared,
        returnScores,
        alibiSlopes: alibiSlopes && ofSequence(alibiSlopes, s),
        queryOffset: typeof queryOffset === 'object' ? queryOffset[s] : queryOffset,
        scoreMod: scoreMod && ((score, _batch, head, query, key) => scoreMod(score, s, head, query, key)),
        maskMod: maskMod && ((_batch, head, query, key) => maskMod(s, head, query, key)),
      },
    );
    put(part.output, output, firstQuery, 0);
    put(part.weights, weights, firstQuery, firstKey);
    const asColumn = ({ shape, data }: Float64HostArray) => ({ shape: [...shape, 1], data });
    put(asColumn(part.logSumExp), asColumn(logSumExp), firstQuery, 0);
    if (scores) put(part.scores!, scores, firstQuery, firstKey);
  }
  return { output, weights, logSumExp, ...(scores && { scores }) };
}

/** Row s of [n, H], or [H] as it is. */
function ofSequence({ shape, data }: HostArray, s: number): HostArray {
  if (shape.length === 1) return { shape, data };
  const heads = shape[1];
  return { shape: [heads], data: Array.from({ length: heads }, (_, h) => data[s * heads + h]) };
}

/** Copies a part, [1, H, n, m], into the whole at a row and column. */
function put(part: Float64HostArray, whole: Float64HostArray, row: number, column: number): void {
  const [, , height, width] = part.shape;
  const [, , wholeHeight, wholeWidth] = whole.shape;
  for (let at = 0; at < part.data.length; at++) {
    const [head, y, x] = [Math.floor(at / (width * height)), Math.floor(at / width) % height, at % width];
    whole.data[(head * wholeHeight + row + y) * wholeWidth + column + x] = part.data[at];
  }
}
