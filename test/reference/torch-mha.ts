/** The conformance cases of torch.nn.MultiheadAttention, in this library's layout and conventions. */
import { expect } from 'vitest';
import type { CaseTensor, MhaCase } from '../conformance.ts';
import { type HostArray, zeros } from './host-array.ts';
import { multiHeadAttention } from './multi-head-attention.ts';
import { multiHeadAttentionGradient } from './multi-head-attention-gradient.ts';
import { additive } from './visibility.ts';

/** The state dict under `state/`. */
export function stateNames(c: MhaCase): string[] {
  return c.tensors.filter((name) => name.startsWith('state/')).map((name) => name.slice('state/'.length));
}

/** [L, N, E] or [L, E] → [N, L, E], as the case says. */
export function batchFirst(c: MhaCase, { shape, data }: CaseTensor): HostArray {
  if (c.unbatched) return { shape: [1, ...shape], data };
  if (c.batch_first) return { shape, data };
  const [length, batches, dim] = shape;
  const result = zeros([batches, length, dim]);
  result.data.forEach((_, at) => {
    const [n, i] = [Math.floor(at / (length * dim)), Math.floor(at / dim) % length];
    result.data[at] = data[(i * batches + n) * dim + (at % dim)];
  });
  return result;
}

/** The case's state, its three inputs batch first, and its options. */
function problemOf(c: MhaCase) {
  const input = (name: string) => batchFirst(c, c.tensor(name));
  const inputs = c.self_attention
    ? ([input('query'), input('query'), input('query')] as const)
    : ([input('query'), input('key'), input('value')] as const);
  return {
    state: Object.fromEntries(stateNames(c).map((name) => [name, c.tensor(`state/${name}`) as HostArray])),
    inputs,
    options: {
      numHeads: c.num_heads,
      addZeroAttn: c.add_zero_attn,
      averageWeights: c.average_attn_weights,
      mask: torchMask(c),
    },
  };
}

/** The case in float64, or with every stage rounded to float16; the output is [N, L, E]. */
export function evaluateMha(c: MhaCase, { inFloat16 = false } = {}) {
  const { state, inputs, options } = problemOf(c);
  return multiHeadAttention(state, ...inputs, { ...options, inFloat16 });
}

/** The case's gradients by the names of `goldenMhaGradients`, batch first. */
export function evaluateMhaGradients(c: MhaCase, { inFloat16 = false } = {}): Record<string, HostArray> {
  const { state, inputs, options } = problemOf(c);
  const dOutput = batchFirst(c, c.tensor('dout'));
  const gradients = multiHeadAttentionGradient(state, inputs, dOutput, { ...options, inFloat16 });
  const ofState = Object.entries(gradients.state).map(([name, gradient]) => [`grad/${name}`, gradient] as const);
  const [query, key, value] = gradients.inputs;
  const ofInputs: Record<string, HostArray> = c.self_attention
    ? { dquery: { shape: query.shape, data: Array.from(query.data, (x, at) => x + key.data[at] + value.data[at]) } }
    : { dquery: query, dkey: key, dvalue: value };
  return { ...ofInputs, ...Object.fromEntries(ofState) };
}

/** PyTorch's gradients, those of the inputs batch first; none in the cases whose outputs are NaN. */
export function goldenMhaGradients(c: MhaCase): Record<string, HostArray> {
  const names = c.tensors.filter((name) => name.startsWith('grad/') || /^d(query|key|value)$/.test(name));
  return Object.fromEntries(
    names.map((name) => [name, name.startsWith('grad/') ? c.tensor(name) : batchFirst(c, c.tensor(name))]),
  );
}

/**
 * PyTorch's output [N, L, E] and weights. In the two cases whose name ends in `_nan` it gives NaN for rows without keys;
 * this library documents weights 0 and so the output projection's bias.
 */
export function expectedMha(c: MhaCase): { output: ArrayLike<number>; weights?: ArrayLike<number> } {
  const output = batchFirst(c, c.tensor('out')).data;
  const weights = c.has('weights') ? c.tensor('weights').data : undefined;
  if (!c.name.endsWith('_nan')) return { output, weights };
  expect(Array.from(output).some(Number.isNaN)).toBe(true);
  const bias = c.tensor('state/out_proj.bias').data;
  return {
    output: Array.from(output, (value, i) => (Number.isNaN(value) ? bias[i % c.embed_dim] : value)),
    weights: weights && Array.from(weights, (value) => (Number.isNaN(value) ? 0 : value)),
  };
}

/** PyTorch's attn_mask and key_padding_mask (bool: true = blocked) as numbers to add, [N, H, L, S]. */
export function torchMask(c: MhaCase): HostArray {
  const { num_heads: H, L, S } = c;
  const N = c.unbatched ? 1 : c.N;
  const numbers = (name: string) => {
    if (!c.has(name)) return undefined;
    const { dtype, shape, data } = c.tensor(name);
    return dtype === 'bool'
      ? additive({ shape, data: Uint8Array.from(data, (blocked) => 1 - blocked) })
      : { shape, data };
  };
  const [mask, padding] = [numbers('attn_mask'), numbers('key_padding_mask')];
  const result = zeros([N, H, L, S]);
  result.data.forEach((_, at) => {
    const [n, j] = [Math.floor(at / (H * L * S)), at % S];
    const maskAt = mask?.shape.length === 2 ? at % (L * S) : at;
    result.data[at] = (mask?.data[maskAt] ?? 0) + (padding?.data[n * S + j] ?? 0);
  });
  return result;
}
