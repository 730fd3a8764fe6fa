import type { Tensor } from '../tensor/tensor.ts';
import { ATTENTION_OPTIONS, checkAttention, type AttentionOptions, type AttentionResult } from './attention.ts';
import { checkBoolean } from './check.ts';
import { product } from './matmul.ts';
import { weigh } from './softmax.ts';

export interface ScaledDotProductAttentionOptions extends AttentionOptions {
  /** Also return the softmax weights: [B, H, Nq, Nk], with 3-D tensors [B, Nq, Nk]. */
  returnWeights?: boolean;
}

export interface ScaledDotProductAttentionResult extends AttentionResult {
  /** Where asked for with `returnWeights`. */
  weights?: Tensor;
}

/**
 * Attention with materialised scores, softmax(scale · q kᵀ + mask) v, as torch's scaled_dot_product_attention (Vaswani
 * et al., 2017): O(Nq · Nk) memory. `flashAttention` computes the same in O(length); this one can return the weights.
 *
 * @param q [B, H, Nq, D], or [B, Nq, D] for one head; float32 or float16; any strides
 * @param k [B, Hkv, Nk, D] with Hkv dividing H (grouped-query heads: head h reads key head ⌊h·Hkv/H⌋)
 * @param v [B, Hkv, Nk, Dv]
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: ScaledDotProductAttentionOptions = {},
): ScaledDotProductAttentionResult {
  const op = 'scaledDotProductAttention';
  const args = checkAttention(op, q, k, v, options, [...ATTENTION_OPTIONS, 'returnWeights']);
  checkBoolean(op, 'returnWeights', options.returnWeights);
  const { device, problem, outputShape, rowShape, headsInRows } = args;
  const { batch, heads, kvHeads, queryLength, keyLength, dtype, scale, visibility, writesLogSumExp } = problem;
  const { mask, keyMask, returnWeights } = options;
  const group = heads / kvHeads;
  return device.scope(() => {
    // [B, Hkv, group, N, D]: the key's and value's group axis has length 1 and broadcasts
    const grouped = (tensor: Tensor, size: number) => tensor.reshape([batch, kvHeads, size, ...tensor.shape.slice(-2)]);
    const scores = product(op, grouped(q, group), grouped(k, 1).transpose(), { outDType: 'float32' });
    const { weights, logSumExp } = weigh(op, scores.reshape([...rowShape, keyLength]), {
      shape: [batch, heads, queryLength, keyLength],
      scale,
      visibility,
      mask,
      keyMask,
      outDType: dtype,
      rowShape: writesLogSumExp ? rowShape : undefined,
    });
    // weights of masked keys are exactly 0 and must not meet what those values hold
    const output = product(op, grouped(weights, group), grouped(v, 1), {
      zeroAnnihilates: true,
      outAxes: headsInRows ? [0, 3, 1, 2, 4] : undefined,
    });
    return {
      output: output.reshape(outputShape),
      ...(returnWeights && { weights }),
      ...(logSumExp && { logSumExp }),
    };
  });
}
