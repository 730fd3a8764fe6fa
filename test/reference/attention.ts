/**
 * Scaled dot product attention in float64, one key at a time.
 *
 *     scaled[b, h, i, j] = scale · q[b, h, i] · k[b, g, j]                          g = ⌊h · Hkv / H⌋
 *     score[b, h, i, j]  = modified(scaled[b, h, i, j]) + bias[b, h, i, j]          score.ts, visibility.ts
 *     weights[b, h, i]   = softmax over the keys j that query i may attend to, and a sink of that head
 *     output[b, h, i]    = Σ_j weights[b, h, i, j] · v[b, g, j]
 *     logSumExp[b, h, i] = ln (exp(sink[h]) + Σ_j exp(score[b, h, i, j]))
 *
 * q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv] → output [B, H, Nq, Dv], weights [B, H, Nq, Nk], logSumExp [B, H, Nq].
 * 3-D arrays are [B, N, D] with one head, and then the results have no head axis.
 *
 * A key that a query may not attend to is not read for it. A query without keys has weights and output 0, and logSumExp −∞ or its sink.
 */
import { type Float64HostArray, type HostArray, zeros } from './host-array.ts';
import { type ScoreOptions, scoreSteps } from './score.ts';
import { visibility } from './visibility.ts';

/** Scores as the product gives them, after the cap, or as the softmax takes them: modified, masks added, −∞ where hidden. */
export type ScoreStage = 'scaled' | 'capped' | 'masked';

export interface AttentionOptions extends ScoreOptions {
  /** [H]: a logit that takes weight and has no value. */
  sinks?: HostArray;
  returnScores?: ScoreStage;
}

export interface AttentionResult {
  output: Float64HostArray;
  weights: Float64HostArray;
  logSumExp: Float64HostArray;
  /** [B, H, Nq, Nk], where asked for; before 'masked', hidden keys are read for it. */
  scores?: Float64HostArray;
}

export function attention(q: HostArray, k: HostArray, v: HostArray, options: AttentionOptions = {}): AttentionResult {
  if (q.shape.length === 3) return attentionOfOneHead(q, k, v, options);
  const [batches, heads, queries, dim] = q.shape;
  const [, kvHeads, keys, valueDim] = v.shape;
  const { scale = 1 / Math.sqrt(dim), sinks, returnScores } = options;
  const shape = [batches, heads, queries, keys];
  const bias = visibility(shape, options).data;
  const { cap, modify } = scoreSteps(shape, options);
  const output = zeros([batches, heads, queries, valueDim]);
  const weights = zeros(shape);
  const logSumExp = zeros([batches, heads, queries]);
  const returned = returnScores && zeros(shape);

  for (let row = 0; row < batches * heads * queries; row++) {
    const query = row % queries;
    const head = Math.floor(row / queries) % heads;
    const batch = Math.floor(row / (heads * queries));
    const firstKey = (batch * kvHeads + Math.floor((head * kvHeads) / heads)) * keys;
    const hidden = (key: number) => bias[row * keys + key] === -Infinity;
    const scaled = (key: number) => {
      let dot = 0;
      for (let d = 0; d < dim; d++) dot += q.data[row * dim + d] * k.data[(firstKey + key) * dim + d];
      return scale * dot;
    };
    const capped = (key: number) => cap(scaled(key));
    const masked = (key: number) =>
      hidden(key) ? -Infinity : modify(capped(key), batch, head, query, key) + bias[row * keys + key];
    const scores = Float64Array.from({ length: keys }, (_, key) => masked(key));
    if (returned) {
      const stage = { scaled, capped, masked }[returnScores];
      for (let key = 0; key < keys; key++) returned.data[row * keys + key] = stage(key);
    }
    const sink = sinks?.data[head] ?? -Infinity;
    const max = scores.reduce((largest, score) => Math.max(largest, score), sink);
    if (max === -Infinity) {
      logSumExp.data[row] = -Infinity;
      continue;
    }
    const sum = scores.reduce((total, score) => total + Math.exp(score - max), Math.exp(sink - max));
    logSumExp.data[row] = max + Math.log(sum);
    for (let key = 0; key < keys; key++) {
      if (scores[key] === -Infinity) continue;
      const weight = Math.exp(scores[key] - max) / sum;
      weights.data[row * keys + key] = weight;
      for (let d = 0; d < valueDim; d++) {
        output.data[row * valueDim + d] += weight * v.data[(firstKey + key) * valueDim + d];
      }
    }
  }
  return { output, weights, logSumExp, ...(returned && { scores: returned }) };
}

function attentionOfOneHead(q: HostArray, k: HostArray, v: HostArray, options: AttentionOptions): AttentionResult {
  const withHead = ({ shape: [batch, ...rest], data }: HostArray): HostArray => ({ shape: [batch, 1, ...rest], data });
  const { mask } = options;
  const result = attention(withHead(q), withHead(k), withHead(v), {
    ...options,
    mask: mask && (mask.shape.length === 3 ? withHead(mask) : mask),
  });
  const withoutHead = ({ shape: [batch, , ...rest], data }: Float64HostArray) => ({ shape: [batch, ...rest], data });
  return {
    output: withoutHead(result.output),
    weights: withoutHead(result.weights),
    logSumExp: withoutHead(result.logSumExp),
    ...(result.scores && { scores: withoutHead(result.scores) }),
  };
}
