/**
 * Scaled dot product attention in float64, one key at a time.
 *
 *     scaled[b, h, i, j] = scale · q[b, h, i] · k[b, g, j]                          g = ⌊h · Hkv / H⌋
 *     score[b, h, i, j]  = modified(scaled[b, h, i, j]) + bias[b, h, i, j]          score.ts, visibility.ts
 *     weights[b, h, i]   = softmax over the keys j that query i may attend to, and a sink of that head
 *                          times keep[b, h, i, j] / (1 − p) with dropout
 *     output[b, h, i]    = Σ_j weights[b, h, i, j] · v[b, g, j]
 *     logSumExp[b, h, i] = ln (exp(sink[h]) + Σ_j exp(score[b, h, i, j]))
 *
 * q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv] → output [B, H, Nq, Dv], weights [B, H, Nq, Nk], logSumExp [B, H, Nq].
 * 3-D arrays are [B, N, D] with one head, and then the results have no head axis.
 *
 * A key that a query may not attend to is not read for it, nor the value of one that dropout takes. A query without keys has weights and output 0, and logSumExp −∞ or its sink.
 */
import { attentionRows } from './attention-rows.ts';
import type { Dropout } from './dropout.ts';
import { withHead, withoutHead } from './heads.ts';
import { type Float64HostArray, type HostArray, zeros } from './host-array.ts';
import type { ScoreOptions } from './score.ts';

/** Scores as the product gives them, after the cap, or as the softmax takes them: modified, masks added, −∞ where hidden. */
export type ScoreStage = 'scaled' | 'capped' | 'masked';

export interface AttentionOptions extends ScoreOptions {
  /** [H]: a logit that takes weight and has no value. */
  sinks?: HostArray;
  dropout?: Dropout;
  returnScores?: ScoreStage;
}

export interface AttentionResult {
  output: Float64HostArray;
  /** After dropout. */
  weights: Float64HostArray;
  logSumExp: Float64HostArray;
  /** [B, H, Nq, Nk], where asked for; before 'masked', hidden keys are read for it. */
  scores?: Float64HostArray;
}

export function attention(q: HostArray, k: HostArray, v: HostArray, options: AttentionOptions = {}): AttentionResult {
  if (q.shape.length === 3) return attentionOfOneHead(q, k, v, options);
  const [batches, heads, queries] = q.shape;
  const [, , keys, valueDim] = v.shape;
  const { returnScores } = options;
  const output = zeros([batches, heads, queries, valueDim]);
  const weights = zeros([batches, heads, queries, keys]);
  const logSumExp = zeros([batches, heads, queries]);
  const returned = returnScores && zeros(weights.shape);

  for (const query of attentionRows(q, k, options)) {
    const { row, firstKey, scaled, capped, scores } = query;
    if (returned) {
      const stage = { scaled, capped, masked: (key: number) => scores[key] }[returnScores];
      for (let key = 0; key < keys; key++) returned.data[row * keys + key] = stage(key);
    }
    logSumExp.data[row] = query.logSumExp;
    for (let key = 0; key < keys; key++) {
      const share = scores[key] === -Infinity ? 0 : query.share(key);
      if (share === 0) continue;
      const weight = query.weights[key] * share;
      weights.data[row * keys + key] = weight;
      for (let d = 0; d < valueDim; d++) {
        output.data[row * valueDim + d] += weight * v.data[(firstKey + key) * valueDim + d];
      }
    }
  }
  return { output, weights, logSumExp, ...(returned && { scores: returned }) };
}

function attentionOfOneHead(q: HostArray, k: HostArray, v: HostArray, options: AttentionOptions): AttentionResult {
  const { mask } = options;
  const result = attention(withHead(q), withHead(k), withHead(v), {
    ...options,
    mask: mask && (mask.shape.length === 3 ? withHead(mask) : mask),
  });
  return {
    output: withoutHead(result.output),
    weights: withoutHead(result.weights),
    logSumExp: withoutHead(result.logSumExp),
    ...(result.scores && { scores: withoutHead(result.scores) }),
  };
}
