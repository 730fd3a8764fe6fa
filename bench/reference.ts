/** Single rows of the ops' results, computed in float64 from the formulas; shares no code with the kernels. */

export type Numbers = ArrayLike<number>;

/** Rows of `width` numbers from `start` on in a longer array. */
export interface Matrix {
  readonly data: Numbers;
  readonly start: number;
  readonly rows: number;
  readonly width: number;
}

/** The bias on the score of a key; −Infinity hides the key. */
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

/** softmax(row + bias), with a part of the weight left to the sink; zeros if everything is hidden. */
export function softmaxRow(row: Numbers, bias: Bias, sink = -Infinity): Float64Array {
  const scores = Float64Array.from(row, (score, key) => score + bias(key));
  const max = scores.reduce((a, b) => Math.max(a, b), sink);
  if (max === -Infinity) return scores.fill(0);
  const weights = scores.map((score) => Math.exp(score - max));
  const sum = weights.reduce((a, b) => a + b, Math.exp(sink - max));
  return weights.map((weight) => weight / sum);
}

/** softmax(q kᵀ / √headDim + bias) v for one query, with the keys and values of its head. Scores are first capped if asked for. */
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

/** A row of a gradient, and the size of its terms together: the largest root of the sum of their squares. */
export interface GradientRow {
  readonly row: Float64Array;
  readonly size: number;
}

/** What the gradients of attention need from one query: its softmax, and Σ_j weight · (dOutput · v_j). */
export interface QueryStatistics {
  readonly logSumExp: number;
  readonly mean: number;
}

interface Score {
  readonly key: number;
  readonly score: number;
  /** dOutput · v. */
  readonly dWeight: number;
}

/** The keys that a query sees. */
function visibleScores(query: Numbers, dOutput: Numbers, keys: Matrix, values: Matrix, bias: Bias): Score[] {
  const scale = 1 / Math.sqrt(query.length);
  const visible = Array.from({ length: keys.rows }, (_, key) => key).filter((key) => bias(key) > -Infinity);
  return visible.map((key) => ({
    key,
    score: scale * dot(keys, key, query) + bias(key),
    dWeight: dot(values, key, dOutput),
  }));
}

function statisticsOf(scores: readonly Score[]): QueryStatistics {
  const max = scores.reduce((most, { score }) => Math.max(most, score), -Infinity);
  const logSumExp = max + Math.log(scores.reduce((sum, { score }) => sum + Math.exp(score - max), 0));
  const mean = scores.reduce((sum, { score, dWeight }) => sum + Math.exp(score - logSumExp) * dWeight, 0);
  return { logSumExp, mean };
}

export function queryStatistics(
  ...[query, dOutput, keys, values, bias]: Parameters<typeof visibleScores>
): QueryStatistics {
  return statisticsOf(visibleScores(query, dOutput, keys, values, bias));
}

/** The gradient of attentionRow's query: Σ_j scale · weight_j · (dWeight_j − mean) · k_j. */
export function queryGradientRow(
  ...[query, dOutput, keys, values, bias]: Parameters<typeof visibleScores>
): GradientRow {
  const scores = visibleScores(query, dOutput, keys, values, bias);
  const statistics = statisticsOf(scores);
  const sum = new TermSum(keys.width);
  for (const { key, ...score } of scores) {
    const { dScore, size } = scoreGradient(score, statistics);
    sum.add(keys, key, dScore / Math.sqrt(query.length), size / Math.sqrt(query.length));
  }
  return sum;
}

/** The gradients of a key and its value, from the queries that see it, with their output gradients, biases and statistics. */
export function keyGradientRows(
  key: Numbers,
  value: Numbers,
  seenBy: Iterable<{ query: Numbers; dOutput: Numbers; bias: number; statistics: QueryStatistics }>,
): { key: GradientRow; value: GradientRow } {
  const scale = 1 / Math.sqrt(key.length);
  const [ofKey, ofValue] = [new TermSum(key.length), new TermSum(value.length)];
  for (const { query, dOutput, bias, statistics } of seenBy) {
    const asMatrix = (data: Numbers): Matrix => ({ data, start: 0, rows: 1, width: data.length });
    const [q, dO] = [asMatrix(query), asMatrix(dOutput)];
    const score = { score: scale * dot(q, 0, key) + bias, dWeight: dot(dO, 0, value) };
    const { weight, dScore, size } = scoreGradient(score, statistics);
    ofKey.add(q, 0, scale * dScore, scale * size);
    ofValue.add(dO, 0, weight, weight);
  }
  return { key: ofKey, value: ofValue };
}

function scoreGradient({ score, dWeight }: Omit<Score, 'key'>, { logSumExp, mean }: QueryStatistics) {
  const weight = Math.exp(score - logSumExp);
  return { weight, dScore: weight * (dWeight - mean), size: weight * (Math.abs(dWeight) + Math.abs(mean)) };
}

/** A sum of rows times factors, and the root of the sum of squares of rows times sizes. */
class TermSum implements GradientRow {
  readonly row: Float64Array;
  readonly #squares: Float64Array;

  constructor(width: number) {
    this.row = new Float64Array(width);
    this.#squares = new Float64Array(width);
  }

  get size(): number {
    return Math.sqrt(this.#squares.reduce((most, square) => Math.max(most, square), 0));
  }

  add({ data, start, width }: Matrix, row: number, factor: number, size: number): void {
    for (let j = 0; j < width; j++) {
      const x = data[start + row * width + j];
      this.row[j] += factor * x;
      this.#squares[j] += (size * x) ** 2;
    }
  }
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
    // the weights add up to 1, except in a row without keys, which gives zeros
    merged.set(isHidden ? mixed : mixed.map((value, i) => value + inBias[2 * width + first + i]), first);
  }
  return times({ data: outWeight, start: 0, rows: width, width }, merged).map((value, i) => value + outBias[i]);
}

function dot({ data, start, width }: Matrix, row: number, x: Numbers): number {
  let sum = 0;
  for (let j = 0; j < width; j++) sum += data[start + row * width + j] * x[j];
  return sum;
}
