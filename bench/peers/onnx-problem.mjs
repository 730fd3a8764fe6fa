import { onnxModel } from './onnx-model.mjs';
import { additiveMask, operands } from './problems.mjs';

/** The layout of operands and result. */
export const LAYOUT = 'heads-last';

/** The operands must stay operands: neither folded into a constant result nor packed ahead of the run. */
export const SESSION_OPTIONS = { graphOptimizationLevel: 'disabled', extra: { session: { disable_prepacking: '1' } } };

/** The model with which ONNX Runtime computes a problem. */
export function modelOf(/** @type {import('./problems.mjs').Problem} */ problem, { cutsFirst = false } = {}) {
  return onnxModel(problem.op === 'matmul' ? matmul(problem) : attention(problem), cutsFirst);
}

function matmul(/** @type {import('./problems.mjs').Matmul} */ problem) {
  const shape = [problem.size, problem.size];
  const [a, b] = operands(problem);
  const named = [
    { name: 'a', shape, values: a },
    { name: 'b', shape, values: b },
  ];
  return { type: 'MatMul', operands: named, shape };
}

/** Microsoft's operator, whose operands are [batch, length, heads · dim]. */
function attention(/** @type {import('./problems.mjs').Attention} */ problem) {
  const { heads, queries, keys, dim, isCausal, window } = problem;
  const [q, k, v] = operands(problem, LAYOUT);
  const mask = window && { name: 'mask', shape: [1, 1, queries, keys], values: additiveMask(problem) };
  return {
    type: 'MultiHeadAttention',
    domain: 'com.microsoft',
    operands: [
      { name: 'q', shape: [1, queries, heads * dim], values: q },
      { name: 'k', shape: [1, keys, heads * dim], values: k },
      { name: 'v', shape: [1, keys, heads * dim], values: v },
      ...(mask ? [undefined, undefined, mask] : []), // no bias, no key padding
    ],
    integers: { num_heads: heads, unidirectional: Number(isCausal) },
    shape: [1, queries, heads * dim],
  };
}
