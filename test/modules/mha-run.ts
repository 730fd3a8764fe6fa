/** A conformance case of torch.nn.MultiheadAttention through MultiHeadAttention on the device. */
import { keyMaskFromTorch, maskFromTorch, MultiHeadAttention, type Device, type Tensor } from '../../src/index.ts';
import type { MhaCase } from '../conformance.ts';
import type { Float } from '../ops/upload.ts';
import { stateNames, torchMask } from '../reference/torch-mha.ts';

export interface MhaRun {
  module: MultiHeadAttention;
  /** `query`, and unless the case is of self-attention `key` and `value`, in the case's layout. */
  inputs: Record<string, Tensor>;
  /** [N, L, E] */
  output: Tensor;
  weights?: Tensor;
}

/** Call it in a scope; `requiresGrad` makes leaves of the inputs, as the parameters are. */
export function enqueueMha(
  device: Device,
  c: MhaCase,
  dtype: Float,
  { needWeights = c.need_weights, requiresGrad = false } = {},
): MhaRun {
  const upload = (name: string) => {
    const { shape, data, dtype: stored } = c.tensor(name);
    return device.tensor(data as Float32Array, shape, { dtype: stored === 'bool' ? 'bool' : dtype });
  };
  const module = new MultiHeadAttention(device, {
    embedDim: c.embed_dim,
    numHeads: c.num_heads,
    kDim: c.kdim ?? undefined,
    vDim: c.vdim ?? undefined,
    bias: c.bias,
    addBiasKv: c.add_bias_kv,
    addZeroAttn: c.add_zero_attn,
    dtype,
  });
  module.loadStateDict(Object.fromEntries(stateNames(c).map((name) => [name, upload(`state/${name}`)])));

  const names = c.self_attention ? ['query'] : ['query', 'key', 'value'];
  const inputs = Object.fromEntries(names.map((name) => [name, upload(name)]));
  if (requiresGrad) for (const input of Object.values(inputs)) input.requiresGrad = true;
  const [query, key = query, value = query] = names.map((name) => toBatchFirst(c, inputs[name]));
  const { output, weights } = module.forward(query, key, value, {
    ...masks(c, upload, dtype),
    needWeights,
    averageWeights: needWeights && c.average_attn_weights,
  });
  return { module, inputs, output, weights };
}

export function toBatchFirst(c: MhaCase, x: Tensor): Tensor {
  if (c.unbatched) return x.reshape([1, ...x.shape]);
  return c.batch_first ? x : x.transpose(0, 1);
}

function masks(c: MhaCase, upload: (name: string) => Tensor, dtype: Float): { mask?: Tensor; keyMask?: Tensor } {
  const padding = c.has('key_padding_mask') ? upload('key_padding_mask') : undefined;
  if (padding && padding.dtype !== 'bool') {
    // numbers to add for each key, and perhaps for each pair, are one mask
    const { shape, data } = torchMask(c);
    return { mask: padding.device.tensor(Float32Array.from(data), shape, { dtype }) };
  }
  return {
    mask: c.has('attn_mask') ? maskFromTorch(upload('attn_mask'), c.num_heads) : undefined,
    keyMask: padding && keyMaskFromTorch(padding),
  };
}
