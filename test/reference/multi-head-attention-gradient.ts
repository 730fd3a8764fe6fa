/**
 * The gradient of multi-head-attention.ts in float64: of Σ dOutput ∘ output with respect to the inputs and all of the state.
 *
 *     dJoined = dOutput · Wo,  dWo = dOutputᵀ · joined,  dbo = Σ_n,i dOutput          joined: the heads side by side
 *     dQ, dK, dV                                                                     attention-gradient.ts; heads side by side
 *     dbias_k, dbias_v = Σ_n of the row after the caller's keys
 *     dquery = dQ · Wq,  dWq = dQᵀ · query,  dbq = Σ_n,i dQ                          likewise key and value
 */
import { f16round } from '@petamoriken/float16';
import { attention } from './attention.ts';
import { attentionGradient } from './attention-gradient.ts';
import { attentionInFloat16 } from './attention-float16.ts';
import { joinHeads, splitHeads } from './heads.ts';
import { concat, type Float64HostArray, type HostArray, slice, sumTo, zeros } from './host-array.ts';
import { matmul } from './matmul.ts';
import {
  appendColumns,
  appendRows,
  inputWeight,
  type MultiHeadAttentionOptions,
  rowsOf,
} from './multi-head-attention.ts';
import { visibility } from './visibility.ts';

export interface MultiHeadAttentionGradients {
  /** Gradients of query, key and value. */
  inputs: HostArray[];
  /** By the names of the state. */
  state: Record<string, HostArray>;
}

export function multiHeadAttentionGradient(
  state: Readonly<Record<string, HostArray>>,
  inputs: readonly [query: HostArray, key: HostArray, value: HostArray],
  dOutput: HostArray,
  { numHeads, addZeroAttn = false, inFloat16 = false, ...options }: MultiHeadAttentionOptions,
): MultiHeadAttentionGradients {
  const round = inFloat16 ? f16round : undefined;
  const stored = <T extends HostArray>(x: T) =>
    round ? { shape: x.shape, data: Float64Array.from(x.data, round) } : x;
  const [batches, queries, embedDim] = inputs[0].shape;
  const keys = inputs[1].shape[1];
  const weights = ([0, 1, 2] as const).map((part) => inputWeight(state, part, embedDim));
  const appended = ['k', 'v'].map((name) => [
    ...(state[`bias_${name}`] ? [state[`bias_${name}`]] : []),
    ...(addZeroAttn ? [zeros([embedDim])] : []),
  ]);
  const heads = inputs.map((x, part) => {
    const biases = state['in_proj_bias'];
    const bias = biases && rowsOf(biases, part * embedDim, (part + 1) * embedDim);
    const projected = stored(matmul(x, weights[part], { transposeB: true, bias }));
    return splitHeads(part === 0 ? projected : appendRows(projected, appended[part - 1]), numHeads);
  });
  const [q, k, v] = heads;
  const bias = visibility([batches, numHeads, queries, keys], options);
  const mask = appendColumns(bias, appended[0].length);
  const joined = joinHeads((inFloat16 ? attentionInFloat16 : attention)(q, k, v, { mask }).output);

  const outputWeight = state['out_proj.weight'];
  const output = splitHeads(stored(matmul(dOutput, outputWeight)), numHeads);
  const ofHeads = attentionGradient(q, k, v, { output }, { mask }, round);
  const projections = [ofHeads.q, ofHeads.k, ofHeads.v].map(joinHeads);
  const ofCallers = projections.map((x, part) => (part === 0 ? x : slice(x, 1, 0, keys)));

  const ofInputs = ofCallers.map((x, part) => stored(matmul(x, weights[part])));
  const ofWeights = ofCallers.map((x, part) => stored(weightGradient(x, inputs[part])));
  const gradients: Record<string, HostArray> = {
    'out_proj.weight': stored(weightGradient(dOutput, joined)),
    ...(state['out_proj.bias'] && { 'out_proj.bias': stored(sumTo(dOutput, [embedDim])) }),
    ...(state['in_proj_bias'] && {
      in_proj_bias: stored(
        concat(
          ofCallers.map((x) => sumTo(x, [embedDim])),
          0,
        ),
      ),
    }),
    ...(state['in_proj_weight']
      ? { in_proj_weight: concat(ofWeights, 0) }
      : Object.fromEntries(['q', 'k', 'v'].map((name, part) => [`${name}_proj_weight`, ofWeights[part]]))),
  };
  for (const [part, name] of ['bias_k', 'bias_v'].entries()) {
    if (!state[name]) continue;
    const { data } = sumTo(slice(projections[part + 1], 1, keys, keys + 1), [1, 1, embedDim]);
    gradients[name] = stored({ shape: [1, 1, embedDim], data });
  }
  return { inputs: ofInputs, state: gradients };
}

/** dYᵀ · X over all rows: of y = x · wᵀ, with respect to w. */
function weightGradient(dy: HostArray, x: HostArray): Float64HostArray {
  const rows = ({ shape: [batches, length, columns], data }: HostArray) => ({
    shape: [batches * length, columns],
    data,
  });
  return matmul(rows(dy), rows(x), { transposeA: true });
}
