/** The conformance cases of torch.nn.MultiheadAttention, in this library's layout and conventions. */
import { expect } from 'vitest';
import type { CaseTensor, MhaCase } from '../conformance.ts';
import { type HostArray, zeros } from './host-array.ts';
import { multiHeadAttention } from './multi-head-attention.ts';
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

/** The case in float64, or with every stage rounded to float16; the output is [N, L, E]. */
export function evaluateMha(c: MhaCase, { inFloat16 = false } = {}) {
  const input = (name: string) => batchFirst(c, c.tensor(name));
  const [query, key, value] = c.self_attention
    ? Array.from({ length: 3 }, () => input('query'))
    : ['query', 'key', 'value'].map(input);
  const state = Object.fromEntries(stateNames(c).map((name) => [name, c.tensor(`state/${name}`)]));
  return multiHeadAttention(state, query, key, value, {
    numHeads: c.num_heads,
    addZeroAttn: c.add_zero_attn,
    averageWeights: c.average_attn_weights,
    mask: torchMask(c),
    inFloat16,
  });
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
