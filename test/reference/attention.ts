/**
 * Scaled dot product attention in float64, one key at a time.
 *
 *     score[b, h, i, j]  = scale · q[b, h, i] · k[b, g, j] + bias[b, h, i, j]       g = ⌊h · Hkv / H⌋
 *     weights[b, h, i]   = softmax over the keys j that query i may attend to
 *     output[b, h, i]    = Σ_j weights[b, h, i, j] · v[b, g, j]
 *     logSumExp[b, h, i] = ln Σ_j exp(score[b, h, i, j])
 *
 * q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv] → output [B, H, Nq, Dv], weights [B, H, Nq, Nk], logSumExp [B, H, Nq].
 * 3-D arrays are [B, N, D] with one head, and then the results have no head axis.
 *
 * A key that a query may not attend to is not read for it. A query without keys has weights and output 0 and logSumExp −∞.
 */
import { type Float64HostArray, type HostArray, zeros } from './host-array.ts';
import { visibility, type VisibilityOptions } from './visibility.ts';

export interface AttentionOptions extends VisibilityOptions {
  /** Default 1/√D. */
  scale?: number;
}

export interface AttentionResult {
  output: Float64HostArray;
  weights: Float64HostArray;
  logSumExp: Float64HostArray;
}

export function attention(q: HostArray, k: HostArray, v: HostArray, options: AttentionOptions = {}): AttentionResult {
  if (q.shape.length === 3) return attentionOfOneHead(q, k, v, options);
  const [batches, heads, queries, dim] = q.shape;
  const [, kvHeads, keys, valueDim] = v.shape;
  const { scale = 1 / Math.sqrt(dim) } = options;
  const bias = visibility([batches, heads, queries, keys], options).data;
  const output = zeros([batches, heads, queries, valueDim]);
  const weights = zeros([batches, heads, queries, keys]);
  const logSumExp = zeros([batches, heads, queries]);

  for (let row = 0; row < batches * heads * queries; row++) {
    const head = Math.floor(row / queries) % heads;
    const batch = Math.floor(row / (heads * queries));
    const firstKey = (batch * kvHeads + Math.floor((head * kvHeads) / heads)) * keys;
    const hidden = (key: number) => bias[row * keys + key] === -Infinity;
    const scores = new Float64Array(keys).fill(-Infinity);
    for (let key = 0; key < keys; key++) {
      if (hidden(key)) continue;
      let dot = 0;
      for (let d = 0; d < dim; d++) dot += q.data[row * dim + d] * k.data[(firstKey + key) * dim + d];
      scores[key] = scale * dot + bias[row * keys + key];
    }
    const max = scores.reduce((largest, score) => Math.max(largest, score), -Infinity);
    const sum = scores.reduce((total, score) => total + Math.exp(score - max), 0);
    logSumExp.data[row] = max === -Infinity ? -Infinity : max + Math.log(sum);
    for (let key = 0; key < keys; key++) {
      if (hidden(key)) continue;
      const weight = Math.exp(scores[key] - max) / sum;
      weights.data[row * keys + key] = weight;
      for (let d = 0; d < valueDim; d++) {
        output.data[row * valueDim + d] += weight * v.data[(firstKey + key) * valueDim + d];
      }
    }
  }
  return { output, weights, logSumExp };
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
  };
}
