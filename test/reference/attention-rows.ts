/** What attention and its gradient have in common: each query's scores and weights, in float64. */
import type { AttentionOptions } from './attention.ts';
import type { HostArray } from './host-array.ts';
import { scoreSteps } from './score.ts';
import { visibility } from './visibility.ts';

/** One query of one head. Hidden keys have score −∞ and weight 0. */
export interface AttentionRow {
  /** Row of q [B, H, Nq, D], flattened to rows. */
  readonly row: number;
  readonly head: number;
  /** First row of k and v, flattened to rows. */
  readonly firstKey: number;
  /** Score of a key, hidden or not, before the cap; `capped` is that after it. */
  readonly scaled: (key: number) => number;
  readonly capped: (key: number) => number;
  /** ∂ score / ∂ scaled, of a key that is not hidden. */
  readonly slope: (key: number) => number;
  /** What dropout multiplies a key's weight by. */
  readonly share: (key: number) => number;
  readonly scores: Float64Array;
  /** Before dropout. */
  readonly weights: Float64Array;
  /** What a sink takes. */
  readonly sinkWeight: number;
  readonly logSumExp: number;
}

/** The queries of 4-D operands, in order. `round` is what scores and weights are stored as, by default in full. */
export function* attentionRows(
  q: HostArray,
  k: HostArray,
  options: AttentionOptions,
  round = (value: number) => value,
): Generator<AttentionRow> {
  const [batches, heads, queries, dim] = q.shape;
  const [, kvHeads, keys] = k.shape;
  const { scale = 1 / Math.sqrt(dim), sinks, dropout } = options;
  const shape = [batches, heads, queries, keys];
  const bias = visibility(shape, options).data;
  const { cap, modify, slope } = scoreSteps(shape, options, round);

  for (let row = 0; row < batches * heads * queries; row++) {
    const query = row % queries;
    const head = Math.floor(row / queries) % heads;
    const batch = Math.floor(row / (heads * queries));
    const firstKey = (batch * kvHeads + Math.floor((head * kvHeads) / heads)) * keys;
    const scaled = (key: number) => {
      let dot = 0;
      for (let d = 0; d < dim; d++) dot += q.data[row * dim + d] * k.data[(firstKey + key) * dim + d];
      return round(scale * dot);
    };
    const capped = (key: number) => cap(scaled(key));
    const scores = Float64Array.from({ length: keys }, (_, key) => {
      const added = bias[row * keys + key];
      return added === -Infinity ? added : round(modify(capped(key), batch, head, query, key) + added);
    });
    const sink = sinks?.data[head] ?? -Infinity;
    const max = scores.reduce((largest, score) => Math.max(largest, score), sink);
    const isEmpty = max === -Infinity;
    const sum = scores.reduce((total, score) => total + Math.exp(score - max), Math.exp(sink - max));
    yield {
      row,
      head,
      firstKey,
      scaled,
      capped,
      slope: (key) => slope(scaled(key), batch, head, query, key),
      share: (key) => (!dropout ? 1 : dropout.keep(batch, head, query, key) ? 1 / (1 - dropout.p) : 0),
      scores,
      weights: scores.map((score) => (score === -Infinity ? 0 : round(Math.exp(score - max) / sum))),
      sinkWeight: isEmpty ? 0 : Math.exp(sink - max) / sum,
      logSumExp: isEmpty ? -Infinity : max + Math.log(sum),
    };
  }
}
