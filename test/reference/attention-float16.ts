/**
 * What attention gives when every stage is stored in float16: the yardstick for the library's float16 results, which may be at
 * most twice as far from the float64 reference (`expectFloat16Close` in compare.ts).
 *
 *     s = f16(scale · Σ f32(q · k)), each further step of the score rounded likewise, s = f16(s + mask), p = f16(softmax(s)),
 *     output = f16(Σ f32(p · v))
 *
 * Shapes and options are those of attention.ts; sums and exponentials are float32. 4-D arrays only.
 */
import { f16round } from '@petamoriken/float16';
import type { AttentionOptions } from './attention.ts';
import { type Float64HostArray, type HostArray, zeros } from './host-array.ts';
import { scoreSteps } from './score.ts';
import { visibility } from './visibility.ts';

export function attentionInFloat16(
  q: HostArray,
  k: HostArray,
  v: HostArray,
  options: AttentionOptions = {},
): { output: Float64HostArray; weights: Float64HostArray } {
  const [batches, heads, queries, dim] = q.shape;
  const [, kvHeads, keys, valueDim] = v.shape;
  const { scale = 1 / Math.sqrt(dim), sinks } = options;
  const shape = [batches, heads, queries, keys];
  const [qs, ks, vs] = [q, k, v].map(({ data }) => Float32Array.from(data, f16round));
  const bias = visibility(shape, options).data.map(f16round);
  const { cap, modify } = scoreSteps(shape, options, f16round);
  const output = zeros([batches, heads, queries, valueDim]);
  const weights = zeros(shape);
  const dotFloat32 = (length: number, product: (i: number) => number) => {
    let sum = 0;
    for (let i = 0; i < length; i++) sum = Math.fround(sum + Math.fround(product(i)));
    return sum;
  };

  for (let row = 0; row < batches * heads * queries; row++) {
    const query = row % queries;
    const head = Math.floor(row / queries) % heads;
    const batch = Math.floor(row / (heads * queries));
    const firstKey = (batch * kvHeads + Math.floor((head * kvHeads) / heads)) * keys;
    const hidden = (key: number) => bias[row * keys + key] === -Infinity;
    const scores = Float32Array.from({ length: keys }, (_, key) => {
      if (hidden(key)) return -Infinity;
      const dot = dotFloat32(dim, (d) => qs[row * dim + d] * ks[(firstKey + key) * dim + d]);
      return f16round(modify(cap(f16round(scale * dot)), batch, head, query, key) + bias[row * keys + key]);
    });
    const sink = sinks?.data[head] ?? -Infinity;
    const max = scores.reduce((largest, score) => Math.max(largest, score), sink);
    if (max === -Infinity) continue;
    const exponentials = scores.map((score) => Math.exp(score - max));
    const sum = exponentials.reduce((total, value) => Math.fround(total + value), Math.fround(Math.exp(sink - max)));
    const p = exponentials.map((value) => f16round(value / sum));
    weights.data.set(p, row * keys);
    for (let d = 0; d < valueDim; d++) {
      const value = (key: number) => (hidden(key) ? 0 : p[key] * vs[(firstKey + key) * valueDim + d]);
      output.data[row * valueDim + d] = f16round(dotFloat32(keys, value));
    }
  }
  return { output, weights };
}
