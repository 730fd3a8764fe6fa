/**
 * torch.nn.MultiheadAttention in float64, batch first.
 *
 *     Q = query · Wqᵀ + bq,  K = key · Wkᵀ + bk,  V = value · Wvᵀ + bv       each split into H heads of E / H columns
 *     K, V get one more row bias_k, bias_v if given, then a row of zeros with addZeroAttn; masks do not hide these
 *     output = concatenated heads of attention(Q, K, V) · Woᵀ + bo
 *
 * query [N, L, E], key [N, S, kDim], value [N, S, vDim] → output [N, L, E], weights per head [N, H, L, S + appended rows].
 * State, by PyTorch's names: in_proj_weight [3E, E], or q_proj_weight [E, E], k_proj_weight [E, kDim], v_proj_weight [E, vDim];
 * in_proj_bias [3E]; out_proj.weight [E, E]; out_proj.bias [E]; bias_k, bias_v [1, 1, E]. Biases are optional.
 *
 * Masks are in this library's sense (true = may attend), not PyTorch's. A query without keys gets output out_proj.bias.
 */
import { f16round } from '@petamoriken/float16';
import { attention } from './attention.ts';
import { attentionInFloat16 } from './attention-float16.ts';
import type { Dropout } from './dropout.ts';
import { joinHeads, splitHeads } from './heads.ts';
import { type Float64HostArray, type HostArray, sizeOf, zeros } from './host-array.ts';
import { matmul } from './matmul.ts';
import { visibility, type VisibilityOptions } from './visibility.ts';

export interface MultiHeadAttentionOptions extends VisibilityOptions {
  numHeads: number;
  addZeroAttn?: boolean;
  dropout?: Dropout;
  /** Round every stage to float16, for the bound on float16 results (compare.ts). */
  inFloat16?: boolean;
  /** Mean of the weights over the heads, [N, L, S + appended rows]. */
  averageWeights?: boolean;
}

export function multiHeadAttention(
  state: Readonly<Record<string, HostArray>>,
  query: HostArray,
  key: HostArray,
  value: HostArray,
  options: MultiHeadAttentionOptions,
): { output: Float64HostArray; weights: Float64HostArray } {
  const { numHeads, addZeroAttn = false, averageWeights = false, inFloat16 = false } = options;
  const stored = (x: Float64HostArray) => (inFloat16 ? { ...x, data: x.data.map(f16round) } : x);
  const [batches, queries, embedDim] = query.shape;
  const project = (x: HostArray, part: 0 | 1 | 2) =>
    stored(
      matmul(x, inputWeight(state, part, embedDim), {
        transposeB: true,
        bias: state['in_proj_bias'] && rowsOf(state['in_proj_bias'], part * embedDim, (part + 1) * embedDim),
      }),
    );
  const appended: { k: HostArray; v: HostArray }[] = [];
  if (state['bias_k']) appended.push({ k: state['bias_k'], v: state['bias_v'] });
  if (addZeroAttn) appended.push({ k: zeros([embedDim]), v: zeros([embedDim]) });

  const heads = (x: HostArray, rows: HostArray[] = []) => splitHeads(appendRows(x, rows), numHeads);
  const bias = visibility([batches, numHeads, queries, key.shape[1]], options);
  const { output, weights } = (inFloat16 ? attentionInFloat16 : attention)(
    heads(project(query, 0)),
    heads(
      project(key, 1),
      appended.map(({ k }) => k),
    ),
    heads(
      project(value, 2),
      appended.map(({ v }) => v),
    ),
    { mask: appendColumns(bias, appended.length), dropout: options.dropout },
  );
  return {
    output: stored(
      matmul(joinHeads(output), state['out_proj.weight'], { transposeB: true, bias: state['out_proj.bias'] }),
    ),
    weights: averageWeights ? stored(meanOverHeads(weights)) : weights,
  };
}

export function inputWeight(state: Readonly<Record<string, HostArray>>, part: 0 | 1 | 2, embedDim: number): HostArray {
  const packed = state['in_proj_weight'];
  if (packed) return rowsOf(packed, part * embedDim, (part + 1) * embedDim);
  return state[['q_proj_weight', 'k_proj_weight', 'v_proj_weight'][part]];
}

/** Rows [start, end) along the first axis. */
export function rowsOf({ shape: [, ...rest], data }: HostArray, start: number, end: number): HostArray {
  const size = sizeOf(rest);
  return { shape: [end - start, ...rest], data: Float64Array.from(data).subarray(start * size, end * size) };
}

/** [N, S, E] with each of `rows` (E elements) after every batch entry's last row. */
export function appendRows({ shape: [batches, length, dim], data }: HostArray, rows: HostArray[]): HostArray {
  const values: number[] = [];
  for (let n = 0; n < batches; n++) {
    for (let i = 0; i < length * dim; i++) values.push(data[n * length * dim + i]);
    for (const row of rows) values.push(...Array.from(row.data));
  }
  return { shape: [batches, length + rows.length, dim], data: values };
}

/** [..., S] with `count` zeros after each row. */
export function appendColumns({ shape, data }: Float64HostArray, count: number): HostArray {
  const columns = shape[shape.length - 1];
  const result = zeros([...shape.slice(0, -1), columns + count]);
  for (let row = 0; row * columns < data.length; row++) {
    result.data.set(data.subarray(row * columns, (row + 1) * columns), row * (columns + count));
  }
  return result;
}

/** [N, H, L, S] → [N, L, S] */
function meanOverHeads({ shape: [batches, heads, queries, keys], data }: HostArray): Float64HostArray {
  const result = zeros([batches, queries, keys]);
  const map = queries * keys;
  for (let at = 0; at < result.data.length; at++) {
    const first = Math.floor(at / map) * heads * map + (at % map);
    for (let h = 0; h < heads; h++) result.data[at] += data[first + h * map] / heads;
  }
  return result;
}
