/**
 * The gradient of attention.ts in float64: of Σ dOutput ∘ output + Σ dLogSumExp ∘ logSumExp + Σ dWeights ∘ weights, one query at a time.
 *
 *     P = weights before dropout, R[…, i, j] = keep / (1 − p)                       as attention.ts; R is 1 without dropout
 *     dP[b, h, i, j] = R · (dOutput[b, h, i] · v[b, g, j] + dWeights[b, h, i, j])
 *     D[b, h, i]     = Σ_j P · dP = dOutput[b, h, i] · output[b, h, i] + Σ_j R · P · dWeights
 *     dS[b, h, i, j] = P · (dP − D + dLogSumExp)                                     summed to the mask's shape: dMask
 *     dSinks[h]      = Σ_b,i P[sink] · (dLogSumExp − D)
 *     dz[b, h, i, j] = scale · dS · ∂ score / ∂ scaled                                cap, scoreMod: score.ts
 *     dQ[b, h, i]    = Σ_j dz · k[b, g, j]
 *     dK[b, g, j]    = Σ_h,i dz · q[b, h, i]                                          h over the heads that read g
 *     dV[b, g, j]    = Σ_h,i R · P · dOutput[b, h, i]
 *
 * Shapes are those of attention.ts, 3-D arrays of one head included; each gradient has its operand's. Keys that a query may not
 * attend to are not read for it and get nothing from it.
 */
import type { AttentionOptions } from './attention.ts';
import { attentionRows } from './attention-rows.ts';
import { withHead, withoutHead } from './heads.ts';
import { type Float64HostArray, type HostArray, sumTo, zeros } from './host-array.ts';

/** By attention's results; an absent one is 0. */
export interface OutputGradients {
  output?: HostArray;
  logSumExp?: HostArray;
  weights?: HostArray;
}

export interface AttentionGradients {
  q: Float64HostArray;
  k: Float64HostArray;
  v: Float64HostArray;
  /** Gradient of a mask of numbers. */
  mask?: Float64HostArray;
  sinks?: Float64HostArray;
}

/** What each stage is stored as: in full. */
const EXACT = (value: number) => value;

export function attentionGradient(
  q: HostArray,
  k: HostArray,
  v: HostArray,
  gradients: OutputGradients,
  options: AttentionOptions = {},
  round = EXACT,
): AttentionGradients {
  if (q.shape.length === 3) return gradientOfOneHead(q, k, v, gradients, options, round);
  const [batches, heads, queries, dim] = q.shape;
  const [, , keys, valueDim] = v.shape;
  const { scale = 1 / Math.sqrt(dim), mask, sinks } = options;
  const [dq, dk, dv] = [zeros(q.shape), zeros(k.shape), zeros(v.shape)];
  const dScores = zeros([batches, heads, queries, keys]);
  const dSinks = zeros([heads]);

  for (const query of attentionRows(q, k, options, round)) {
    const { row, head, firstKey, weights } = query;
    const seen = Array.from(weights.keys()).filter((key) => query.scores[key] !== -Infinity);
    const dOutput = (d: number) => gradients.output?.data[row * valueDim + d] ?? 0;
    const dWeights = new Float64Array(keys);
    const output = new Float64Array(valueDim);
    let sum = 0;
    for (const key of seen) {
      const share = query.share(key);
      if (share === 0) continue;
      const weight = share * weights[key];
      const own = gradients.weights?.data[row * keys + key] ?? 0;
      let dWeight = own;
      for (let d = 0; d < valueDim; d++) {
        const at = (firstKey + key) * valueDim + d;
        dWeight += dOutput(d) * v.data[at];
        dv.data[at] += weight * dOutput(d);
        output[d] += weight * v.data[at];
      }
      dWeights[key] = round(share * dWeight);
      sum += weight * own;
    }
    for (let d = 0; d < valueDim; d++) sum += dOutput(d) * round(output[d]);
    const dLogSumExp = gradients.logSumExp?.data[row] ?? 0;
    // where a row is empty, its weights and its sink's are 0, whatever the gradient of its infinite logSumExp
    if (query.sinkWeight > 0) dSinks.data[head] += query.sinkWeight * (dLogSumExp - sum);
    for (const key of seen) {
      const dScore = round(weights[key] * (dWeights[key] - sum + dLogSumExp));
      dScores.data[row * keys + key] = dScore;
      const dProduct = scale * round(dScore * query.slope(key));
      for (let d = 0; d < dim; d++) {
        const [ofQuery, ofKey] = [row * dim + d, (firstKey + key) * dim + d];
        dq.data[ofQuery] += dProduct * k.data[ofKey];
        dk.data[ofKey] += dProduct * q.data[ofQuery];
      }
    }
  }
  const stored = ({ shape, data }: Float64HostArray) => ({ shape, data: round === EXACT ? data : data.map(round) });
  const hasNumbers = mask && !(mask.data instanceof Uint8Array);
  return {
    q: stored(dq),
    k: stored(dk),
    v: stored(dv),
    ...(hasNumbers && { mask: stored(sumTo(dScores, mask.shape)) }),
    ...(sinks && { sinks: dSinks }),
  };
}

function gradientOfOneHead(
  q: HostArray,
  k: HostArray,
  v: HostArray,
  { output, logSumExp, weights }: OutputGradients,
  options: AttentionOptions,
  round: (value: number) => number,
): AttentionGradients {
  const ofResults = {
    output: output && withHead(output),
    logSumExp: logSumExp && withHead(logSumExp),
    weights: weights && withHead(weights),
  };
  const { mask } = options;
  const hasHead = mask?.shape.length === 3;
  const result = attentionGradient(
    withHead(q),
    withHead(k),
    withHead(v),
    ofResults,
    { ...options, mask: hasHead ? withHead(mask) : mask },
    round,
  );
  return {
    q: withoutHead(result.q),
    k: withoutHead(result.k),
    v: withoutHead(result.v),
    ...(result.mask && { mask: hasHead ? withoutHead(result.mask) : result.mask }),
    ...(result.sinks && { sinks: result.sinks }),
  };
}
