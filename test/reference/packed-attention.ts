/**
 * Attention over sequences of different lengths that lie one after another, each to itself.
 *
 *     output[…, i] of sequence s, queryOffsets[s] ≤ i < queryOffsets[s + 1], is attention(q, k, v) of its own queries and keys
 *
 * q [1, H, Σ Nq, D], k [1, Hkv, Σ Nk, D], v [1, Hkv, Σ Nk, Dv] → output [1, H, Σ Nq, Dv], weights [1, H, Σ Nq, Σ Nk], logSumExp
 * [1, H, Σ Nq]. Options are those of attention.ts, in which sequence s is batch entry s, and its queries and keys count from 0.
 */
import { attention, type AttentionOptions, type AttentionResult } from './attention.ts';
import { attentionGradient, type AttentionGradients, type OutputGradients } from './attention-gradient.ts';
import { type Float64HostArray, type HostArray, slice, zeros } from './host-array.ts';

export interface PackedOptions extends Omit<AttentionOptions, 'mask' | 'keyMask'> {
  /** [n + 1]: where each sequence's queries begin, and where the last one's end. */
  queryOffsets: readonly number[];
  keyOffsets: readonly number[];
}

export function packedAttention(q: HostArray, k: HostArray, v: HostArray, options: PackedOptions): AttentionResult {
  const [, heads, queries] = q.shape;
  const [, , keys, valueDim] = v.shape;
  const output = zeros([1, heads, queries, valueDim]);
  const weights = zeros([1, heads, queries, keys]);
  const logSumExp = zeros([1, heads, queries]);
  const scores = options.returnScores && zeros([1, heads, queries, keys]);
  if (scores) scores.data.fill(-Infinity);
  for (const sequence of sequences(options)) {
    const { firstQuery, firstKey } = sequence;
    const part = attention(sequence.ofQueries(q), sequence.ofKeys(k), sequence.ofKeys(v), sequence.options);
    put(part.output, output, firstQuery, 0);
    put(part.weights, weights, firstQuery, firstKey);
    put(asColumn(part.logSumExp), asColumn(logSumExp), firstQuery, 0);
    if (scores) put(part.scores!, scores, firstQuery, firstKey);
  }
  return { output, weights, logSumExp, ...(scores && { scores }) };
}

/** As attention-gradient.ts; that of the sinks is summed over the sequences. */
export function packedAttentionGradient(
  q: HostArray,
  k: HostArray,
  v: HostArray,
  gradients: OutputGradients,
  options: PackedOptions,
): AttentionGradients {
  const [dq, dk, dv] = [zeros(q.shape), zeros(k.shape), zeros(v.shape)];
  const dSinks = options.sinks && zeros(options.sinks.shape);
  for (const sequence of sequences(options)) {
    const { ofQueries, ofKeys, firstQuery, firstKey } = sequence;
    const { output, logSumExp, weights } = gradients;
    const ofResults = {
      output: output && ofQueries(output),
      logSumExp: logSumExp && ofQueries(logSumExp),
      weights: weights && sequence.ofScores(weights),
    };
    const part = attentionGradient(ofQueries(q), ofKeys(k), ofKeys(v), ofResults, sequence.options);
    put(part.q, dq, firstQuery, 0);
    put(part.k, dk, firstKey, 0);
    put(part.v, dv, firstKey, 0);
    part.sinks?.data.forEach((sink, h) => (dSinks!.data[h] += sink));
  }
  return { q: dq, k: dk, v: dv, ...(dSinks && { sinks: dSinks }) };
}

function sequences({ queryOffsets, keyOffsets, ...shared }: PackedOptions) {
  return Array.from({ length: queryOffsets.length - 1 }, (_, s) => {
    const [firstQuery, lastQuery] = queryOffsets.slice(s);
    const [firstKey, lastKey] = keyOffsets.slice(s);
    const { alibiSlopes, queryOffset, keyLengths, scoreMod, scoreModDerivative, maskMod, dropout } = shared;
    const ofQueries = (x: HostArray) => slice(x, 2, firstQuery, lastQuery);
    const options: AttentionOptions = {
      ...shared,
      alibiSlopes: alibiSlopes && ofSequence(alibiSlopes, s),
      queryOffset: typeof queryOffset === 'object' ? queryOffset[s] : queryOffset,
      keyLengths: keyLengths && [Math.min(keyLengths[s], lastKey - firstKey)],
      scoreMod: scoreMod && ((score, _batch, ...at) => scoreMod(score, s, ...at)),
      scoreModDerivative: scoreModDerivative && ((score, _batch, ...at) => scoreModDerivative(score, s, ...at)),
      maskMod: maskMod && ((_batch, ...at) => maskMod(s, ...at)),
      dropout: dropout && { p: dropout.p, keep: (_batch, ...at) => dropout.keep(s, ...at) },
    };
    return {
      firstQuery,
      firstKey,
      options,
      ofQueries,
      ofKeys: (x: HostArray) => slice(x, 2, firstKey, lastKey),
      ofScores: (x: HostArray) => slice(ofQueries(x), 3, firstKey, lastKey),
    };
  });
}

function asColumn({ shape, data }: Float64HostArray): Float64HostArray {
  return { shape: [...shape, 1], data };
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
