/** Single rows of what the ops compute, in float64 from the formulas; shares no code with the kernels. */

export type Numbers = ArrayLike<number>;

/** Rows of `width` numbers from `start` on in a longer array. */
export interface Matrix {
  readonly data: Numbers;
  readonly start: number;
  readonly rows: number;
  readonly width: number;
}

/** What is added to the score of a key; −Infinity hides it. */
export type Bias = (key: number) => number;

/** row · b, for b [depth, columns]. */
export function matmulRow(row: Numbers, b: Matrix): Float64Array {
  const result = new Float64Array(b.width);
  for (let i = 0; i < b.rows; i++) {
    for (let j = 0; j < b.width; j++) result[j] += row[i] * b.data[b.start + i * b.width + j];
  }
  return result;
}

/** m · x, for m [rows, width]. */
export function times(m: Matrix, x: Numbers): Float64Array {
  return Float64Array.from({ length: m.rows }, (_, i) => dot(m, i, x));
}

/** softmax(row + bias), of whose weight a sink takes its part; zeros where everything is hidden. */
export function softmaxRow(row: Numbers, bias: Bias, sink = -Infinity): Float64Array {
  const scores = Float64Array.from(row, (score, key) => score + bias(key));
  const max = scores.reduce((a, b) => Math.max(a, b), sink);
  if (max === -Infinity) return scores.fill(0);
  const weights = scores.map((score) => Math.exp(score - max));
  const sum = weights.reduce((a, b) => a + b, Math.exp(sink - max));
  return weights.map((weight) => weight / sum);
}

/** softmax(q kᵀ / √headDim + bias) v for one query, with the keys and values of its head; first capped, where asked for. */
export function attentionRow(
  query: Numbers,
  keys: Matrix,
  values: Matrix,
  bias: Bias,
  { softcap, sink }: { softcap?: number; sink?: number } = {},
): Float64Array {
  const scale = 1 / Math.sqrt(query.length);
  const scaled = times(keys, query).map((score) => score * scale);
  const scores = softcap === undefined ? scaled : scaled.map((score) => softcap * Math.tanh(score / softcap));
  return matmulRow(softmaxRow(scores, bias, sink), values);
}

/** Parameters of torch.nn.MultiheadAttention, for the width E = inWeight.length / 3E. */
export interface Projections {
  /** [3E, E], rows of q, k, v. */
  readonly inWeight: Numbers;
  /** [3E]. */
  readonly inBias: Numbers;
  /** [E, E]. */
  readonly outWeight: Numbers;
  /** [E]. */
  readonly outBias: Numbers;
}

/**
 * Multi-head attention with projections for one query [E]. The projections of the keys and values are pulled out of the
 * sums over keys, q · (W x + b) = (Wᵀ q) · x + q · b, so that a row costs length · E operations rather than length · E².
 */
export function projectedAttentionRow(
  query: Numbers,
  keys: Matrix,
  values: Matrix,
  { inWeight, inBias, outWeight, outBias }: Projections,
  heads: number,
  bias: Bias,
): Float64Array {
  const width = query.length;
  const headDim = width / heads;
  const weight = (row: number): Matrix => ({ data: inWeight, start: row * width, rows: headDim, width });
  const merged = new Float64Array(width);
  for (let head = 0; head < heads; head++) {
    const first = head * headDim;
    const q = times(weight(first), query).map((value, i) => value + inBias[first + i]);
    const pulled = matmulRow(q, weight(width + first));
    const constant = q.reduce((sum, value, i) => sum + value * inBias[width + first + i], 0);
    const scores = times(keys, pulled).map((score) => (score + constant) / Math.sqrt(headDim));
    const weights = softmaxRow(scores, bias);
    const isHidden = weights.every((share) => share === 0);
    const mixed = times(weight(2 * width + first), matmulRow(weights, values));
    // the weights add up to 1, but for a row without keys, which gives zeros
    merged.set(isHidden ? mixed : mixed.map((value, i) => value + inBias[2 * width + first + i]), first);
  }
  return times({ data: outWeight, start: 0, rows: width, width }, merged).map((value, i) => value + outBias[i]);
}

function dot({ data, start, width }: Matrix, row: number, x: Numbers): number {
  let sum = 0;
  for (let j = 0; j < width; j++) sum += data[start + row * width + j] * x[j];
  return sum;
}
