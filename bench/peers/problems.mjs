/** The problems that every library computes in float32, and their results in float64. */
import { normal } from '../../dist/bench-peers.js';
import { LOSSES, TOLERANCE, training } from './training-problem.mjs';

/**
 * @typedef {object} Attention softmax(Q Kᵀ / √dim) V over one batch
 * @property {'attention'} op
 * @property {string} name
 * @property {number} heads
 * @property {number} queries
 * @property {number} keys
 * @property {number} dim
 * @property {boolean} isCausal
 * @property {number} [window] keys that a query sees to either side of its own position
 *
 * @typedef {object} Matmul A B, both size × size
 * @property {'matmul'} op
 * @property {string} name
 * @property {number} size
 *
 * @typedef {Attention | Matmul | import('./training-problem.mjs').Training} Problem
 *
 * @typedef {'heads-first' | 'heads-last'} Layout [heads, length, dim] or [length, heads, dim]
 */

/** @type {readonly Problem[]} */
export const PROBLEMS = [
  attention('flash 8×512×64', { queries: 512 }),
  attention('flash 8×1024×64', { queries: 1024 }),
  attention('flash 8×2048×64', { queries: 2048 }),
  attention('flash 8×1024×64 causal', { queries: 1024, isCausal: true }),
  ...[1024, 4096, 16384].map((keys) => attention(`flash 8×64, 1 query on ${keys} keys`, { queries: 1, keys })),
  // Not longer, because 8 × 2048² scores fill WebGPU's default binding of 128 MiB, and some libraries store them all.
  attention('local 8×2048×64 ±64', { queries: 2048, window: 64 }),
  { op: 'matmul', name: 'matmul 1024³', size: 1024 },
  training('training step 8×128, 2×64', { vocabulary: 96, batch: 8, length: 128, width: 64, layers: 2, heads: 4 }),
];

/** @returns {Attention} */
function attention(name, { queries, keys = queries, isCausal = false, window }) {
  return { op: 'attention', name, heads: 8, queries, keys, dim: 64, isCausal, window };
}

/** The operands, row-major: Q, K, V in the given layout, or A, B. Standard normal, the same in every process. */
export function operands(/** @type {Problem} */ problem, /** @type {Layout} */ layout = 'heads-first') {
  if (problem.op === 'matmul') return [1, 2].map((seed) => draw(problem.size ** 2, seed));
  const { heads, queries, keys, dim } = problem;
  return [queries, keys, keys].map((length, i) => {
    const values = draw(heads * length * dim, i + 1);
    return layout === 'heads-first' ? values : swapped(values, [heads, length, dim]);
  });
}

function draw(length, seed) {
  const next = normal(seed);
  return Float32Array.from({ length }, () => next());
}

/** [a, b, c] as [b, a, c]. */
function swapped(values, [a, b, c]) {
  const out = new Float32Array(values.length);
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) out.set(values.subarray((i * b + j) * c, (i * b + j + 1) * c), (j * a + i) * c);
  }
  return out;
}

/** Whether the query sees the key. */
export function isVisible({ isCausal, window = Infinity }, query, key) {
  return (!isCausal || key <= query) && Math.abs(query - key) <= window;
}

/** [queries, keys], which is added to the scaled scores: 0 if the query sees the key, else far below any score. */
export function additiveMask(/** @type {Attention} */ problem) {
  const { queries, keys } = problem;
  const mask = new Float32Array(queries * keys);
  for (let i = 0; i < mask.length; i++) if (!isVisible(problem, Math.floor(i / keys), i % keys)) mask[i] = -1e9;
  return mask;
}

const SAMPLES = 128;

/** Rows of the result that are checked, the first and the last among them. Heads-first for attention. */
function sampledRows(/** @type {Problem} */ problem) {
  const rows = problem.op === 'matmul' ? problem.size : problem.heads * problem.queries;
  const count = Math.min(SAMPLES, rows);
  return Array.from({ length: count }, (_, i) => Math.round((i * (rows - 1)) / Math.max(1, count - 1)));
}

/** How many calls are checked. */
export function checkedCalls(/** @type {Problem} */ problem) {
  return problem.op === 'training' ? LOSSES.length : 1;
}

/** The sampled rows of a whole result in this layout, one after the other. A loss is returned whole. */
export function sample(
  /** @type {Problem} */ problem,
  /** @type {Float32Array} */ result,
  /** @type {Layout} */ layout,
) {
  if (problem.op === 'training') return result;
  const isSwapped = problem.op === 'attention' && layout === 'heads-last';
  const width = problem.op === 'matmul' ? problem.size : problem.dim;
  const rows = sampledRows(problem);
  const out = new Float32Array(rows.length * width);
  rows.forEach((row, i) => {
    const at = isSwapped ? (row % problem.queries) * problem.heads + Math.floor(row / problem.queries) : row;
    out.set(result.subarray(at * width, (at + 1) * width), i * width);
  });
  return out;
}

/**
 * The expected results of the first calls in float64 (one call's sampled rows, or the losses of several steps), and the largest
 * difference that float32 arithmetic explains.
 */
export function reference(/** @type {Problem} */ problem) {
  if (problem.op === 'training') return { values: LOSSES, tolerance: TOLERANCE };
  const tensors = operands(problem);
  const row = problem.op === 'matmul' ? matmulRow : attentionRow;
  const values = sampledRows(problem).flatMap((index) => Array.from(row(problem, tensors, index)));
  // Attention averages values of size 1; an element of the product is a sum of 1024 terms and about 32 in size.
  return { values, tolerance: problem.op === 'matmul' ? 1e-3 : 1e-4 };
}

function matmulRow({ size }, [a, b], row) {
  return Float64Array.from({ length: size }, (_, column) => {
    let sum = 0;
    for (let i = 0; i < size; i++) sum += a[row * size + i] * b[i * size + column];
    return sum;
  });
}

function attentionRow(/** @type {Attention} */ problem, [q, k, v], row) {
  const { queries, keys, dim } = problem;
  const firstKey = Math.floor(row / queries) * keys;
  const scores = Float64Array.from({ length: keys }, (_, key) => {
    if (!isVisible(problem, row % queries, key)) return -Infinity;
    let dot = 0;
    for (let d = 0; d < dim; d++) dot += q[row * dim + d] * k[(firstKey + key) * dim + d];
    return dot / Math.sqrt(dim);
  });
  const max = scores.reduce((a, b) => Math.max(a, b));
  const weights = scores.map((score) => Math.exp(score - max));
  const sum = weights.reduce((a, b) => a + b);
  return Float64Array.from({ length: dim }, (_, d) => {
    let value = 0;
    for (let key = 0; key < keys; key++) value += (weights[key] / sum) * v[(firstKey + key) * dim + d];
    return value;
  });
}
