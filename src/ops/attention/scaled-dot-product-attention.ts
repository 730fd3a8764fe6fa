import { noGrad, record } from '../../autograd/tape.ts';
import { ArgumentError } from '../../gpu/errors.ts';
import type { ScoresStage } from '../../kernels/softmax.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import {
  ATTENTION_OPTIONS,
  checkAttention,
  type AttentionOptions,
  type AttentionResult,
} from './internal/attention.ts';
import { checkBoolean, describe } from '../internal/check.ts';
import { product } from '../internal/product.ts';
import {
  groupHeads,
  scaledDotProductAttentionGradient,
  type MaterialisedAttention,
  type SavedAttention,
} from './internal/scaled-dot-product-attention-gradient.ts';
import { resolveScores, scoreRefusal, scoreTensors } from './internal/score-options.ts';
import { weigh } from './internal/weigh.ts';

export interface ScaledDotProductAttentionOptions extends AttentionOptions {
  /** Also return the softmax weights, those that dropout leaves: [B, H, Nq, Nk], with 3-D tensors [B, Nq, Nk]. */
  returnWeights?: boolean;
  /**
   * Also return the scores, of the weights' shape, as they are after a stage: `'scaled'` scale · q kᵀ, `'capped'` after
   * softcap, `'masked'` with all that is added to them, and −∞ where a query may not attend. They have no gradient.
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
 * Gradients of q, k, v, a float mask and sinks flow from all results but scores; q kᵀ is kept for them, in float32.
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
  const { device, problem, outputShape, rowShape, headsInRows, scores: checked } = args;
  const { heads, kvHeads, queryRows, dtype, scale, visibility, writesLogSumExp } = problem;
  // a packed batch is one matrix of scores, in which sequences hide from each other
  const [batch, keyRows] = [k.shape[0], k.shape.at(-2)!];
  const { mask, keyMask, returnWeights } = options;
  const group = heads / kvHeads;
  return device.scope(() => {
    const { table, scores: resolved } = noGrad(() => resolveScores(op, device, checked));
    const weighing = { shape: [batch, heads, queryRows, keyRows], scale, visibility, scores: resolved } as const;
    const call: MaterialisedAttention = { op, batch, kvHeads, group, weighing };
    const { x, output, weights, logSumExp, scores } = noGrad(() => {
      const keys = groupHeads(call, k, 1).transpose();
      const x = product(op, groupHeads(call, q, group), keys, { outDType: 'float32' }).reshape([...rowShape, keyRows]);
      const results = { dtype, rowShape: writesLogSumExp ? rowShape : undefined, stage };
      const weighed = weigh(op, { x, mask, keyMask, table }, weighing, results);
      // weights of masked keys are exactly 0 and must not meet what those values hold
      const output = product(op, groupHeads(call, weighed.weights, group), groupHeads(call, v, 1), {
        zeroAnnihilates: true,
        outAxes: headsInRows ? [0, 3, 1, 2, 4] : undefined,
      });
      return { x, output: output.reshape(outputShape), ...weighed };
    });
    const sinks = checked.sinks && 'tensor' in checked.sinks ? checked.sinks.tensor : undefined;
    const others = scoreTensors(checked).filter((tensor) => tensor !== sinks);
    const inputs = { q, k, v, mask, sinks, ...Object.fromEntries(others.entries()) };
    const walked = { output, ...(returnWeights && { weights }), ...(logSumExp && { logSumExp }) };
    const names = Object.keys(walked);
    record<string, string>({
      op,
      inputs,
      outputs: Object.values(walked),
      saved: { q, k, v, mask, keyMask, table, x },
      refusal: scoreRefusal(op, checked),
      backward: (gradients, saved, needs) => {
        const named = Object.fromEntries(names.map((name, i) => [name, gradients[i]]));
        return scaledDotProductAttentionGradient(call, saved as unknown as SavedAttention, named, needs);
      },
    });
    if (scores) {
      const refusal = `${op}: the loss must not depend on returned scores, which have no gradient, got one that does`;
      record<string>({ op, inputs, outputs: [scores], refusal, backward: () => ({}) });
    }
    return {
      output,
      ...(returnWeights && { weights }),
      ...(logSumExp && { logSumExp }),
      ...(scores && { scores }),
    };
  });
}
