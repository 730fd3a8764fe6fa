import { ArgumentError } from '../gpu/errors.ts';
import type { ScoresStage } from '../kernels/softmax.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { ATTENTION_OPTIONS, checkAttention, type AttentionOptions, type AttentionResult } from './attention.ts';
import { checkBoolean, describe } from './check.ts';
import { product } from './matmul.ts';
import { resolveScores } from './score-options.ts';
import { weigh } from './softmax.ts';

export interface ScaledDotProductAttentionOptions extends AttentionOptions {
  /** Also return the softmax weights: [B, H, Nq, Nk], with 3-D tensors [B, Nq, Nk]. */
  returnWeights?: boolean;
  /**
   * Also return the scores, of the weights' shape, as they are after a stage: `'scaled'` scale · q kᵀ, `'capped'` after
   * softcap, `'masked'` with all that is added to them, and −∞ where a query may not attend.
   */
  returnScores?: ScoresStage;
}

export interface ScaledDotProductAttentionResult extends AttentionResult {
  /** Where asked for with `returnWeights`. */
  weights?: Tensor;
  /** Where asked for with `returnScores`. */
  scores?: Tensor;
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
  const args = checkAttention(op, q, k, v, options, [...ATTENTION_OPTIONS, 'returnWeights', 'returnScores']);
  checkBoolean(op, 'returnWeights', options.returnWeights);
  const { returnScores: stage } = options;
  if (stage !== undefined && stage !== 'scaled' && stage !== 'capped' && stage !== 'masked') {
    throw new ArgumentError(`${op}: returnScores must be 'scaled', 'capped' or 'masked', got ${describe(stage)}`);
  }
  const { device, problem, outputShape, rowShape, headsInRows } = args;
  const { heads, kvHeads, queryRows, dtype, scale, visibility, writesLogSumExp } = problem;
  // a packed batch is one matrix of scores, in which sequences hide from each other
  const [batch, keyRows] = [k.shape[0], k.shape.at(-2)!];
  const { mask, keyMask, returnWeights } = options;
  const group = heads / kvHeads;
  return device.scope(() => {
    // [B, Hkv, group, N, D]: the key's and value's group axis has length 1 and broadcasts
    const grouped = (tensor: Tensor, size: number) => tensor.reshape([batch, kvHeads, size, ...tensor.shape.slice(-2)]);
    const products = product(op, grouped(q, group), grouped(k, 1).transpose(), { outDType: 'float32' });
    const { table, scores: resolved } = resolveScores(op, device, args.scores);
    const weighed = weigh(op, products.reshape([...rowShape, keyRows]), {
      shape: [batch, heads, queryRows, keyRows],
      scale,
      visibility,
      mask,
      keyMask,
      scores: resolved,
      table,
      stage,
      outDType: dtype,
      rowShape: writesLogSumExp ? rowShape : undefined,
    });
    const { weights, logSumExp, scores } = weighed;
    // weights of masked keys are exactly 0 and must not meet what those values hold
    const output = product(op, grouped(weights, group), grouped(v, 1), {
      zeroAnnihilates: true,
      outAxes: headsInRows ? [0, 3, 1, 2, 4] : undefined,
    });
    return {
      output: output.reshape(outputShape),
      ...(returnWeights && { weights }),
      ...(logSumExp && { logSumExp }),
      ...(scores && { scores }),
    };
  });
}
