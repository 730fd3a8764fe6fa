import { noGrad, record } from '../../autograd/tape.ts';
import { ArgumentError } from '../../gpu/errors.ts';
import type { ScoresStage } from '../../kernels/softmax.ts';
import type { FloatTensor, Tensor } from '../../tensor/tensor.ts';
import { computeFused } from './fused-attention.ts';
import { callAttention, type AttentionCall, type AttentionResult } from './internal/call.ts';
import type { AttentionOptions } from './internal/options.ts';
import { checkBoolean, describe } from '../internal/check.ts';
import { hasHeadsInRows } from '../internal/heads.ts';
import { product } from '../internal/product.ts';
import {
  groupHeads,
  scaledDotProductAttentionGradient,
  type MaterialisedAttention,
} from './internal/scaled-dot-product-attention-gradient.ts';
import { weigh } from './internal/weigh.ts';

export interface ScaledDotProductAttentionOptions extends AttentionOptions {
  /** Also return the softmax weights, after dropout: [B, H, Nq, Nk], with 3-D tensors [B, Nq, Nk]. */
  returnWeights?: boolean;
  /**
   * Also return the scores, in the weights' shape, after a stage: `'scaled'` scale · q kᵀ, `'capped'` after softcap,
   * `'masked'` with everything that is added to them, and −∞ where a query may not attend. They have no gradient.
   */
  returnScores?: ScoresStage;
}

export interface ScaledDotProductAttentionResult extends AttentionResult {
  /** Present if `returnWeights` asks for it. */
  weights?: FloatTensor;
  /** Present if `returnScores` asks for it. */
  scores?: FloatTensor;
}

/**
 * Attention with materialised scores, softmax(scale · q kᵀ + mask) v, as torch's scaled_dot_product_attention (Vaswani
 * et al., 2017). It needs O(Nq · Nk) memory, and can return the weights. `flashAttention` computes the same in O(length). So does
 * this op where the device can bind no buffer of all scores, unless weights or scores are to be returned.
 * Gradients of q, k, v, a float mask and sinks flow from all results except the scores. They need q kᵀ kept in float32.
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
  const compute = (call: AttentionCall) =>
    options.returnWeights || options.returnScores || holdsScores(call)
      ? materialise(call, options)
      : computeFused(call, 'flashAttention', options);
  return callAttention(op, { q, k, v }, options, compute, {
    names: ['returnWeights', 'returnScores'],
    check: () => {
      checkBoolean(op, 'returnWeights', options.returnWeights);
      const { returnScores: stage } = options;
      if (stage !== undefined && stage !== 'scaled' && stage !== 'capped' && stage !== 'masked') {
        throw new ArgumentError(`${op}: returnScores must be 'scaled', 'capped' or 'masked', got ${describe(stage)}`);
      }
    },
  });
}

/** Whether the device can bind a buffer of all scores, which are float32. */
function holdsScores({ q, k, inputs }: AttentionCall): boolean {
  return 4 * q.shape[0] * inputs.heads * q.shape[2] * k.shape[2] <= q.device.largest;
}

function materialise(
  call: AttentionCall,
  { returnWeights = false, returnLogSumExp = false, returnScores: stage }: ScaledDotProductAttentionOptions,
): ScaledDotProductAttentionResult & Readonly<Record<string, FloatTensor | undefined>> {
  const { q, k, v, bindings, differentiable, refusal, outputShape } = call;
  const { op, heads, kvHeads, dtype, options: fields } = call.inputs;
  // a packed batch is one matrix of scores, in which sequences hide from each other
  const shape = [q.shape[0], heads, q.shape[2], k.shape[2]] as const;
  const materialised: MaterialisedAttention = {
    op,
    kvHeads,
    group: heads / kvHeads,
    weighing: { shape, options: fields },
  };
  const { group } = materialised;
  const { x, output, weights, logSumExp, scores } = noGrad(() => {
    const keys = groupHeads(materialised, k, 1).transpose();
    const x = product(op, groupHeads(materialised, q, group), keys, { outDType: 'float32' }).reshape(shape);
    const results = { dtype, logSumExp: returnLogSumExp, stage };
    const weighed = weigh(op, { x, ...bindings }, materialised.weighing, results);
    // weights of masked keys are exactly 0, and must not be multiplied with NaN or infinities in the values
    const output = product(op, groupHeads(materialised, weighed.weights, group), groupHeads(materialised, v, 1), {
      zeroAnnihilates: true,
      outAxes: hasHeadsInRows(q) ? [0, 3, 1, 2, 4] : undefined,
    });
    return { x, output: output.reshape(outputShape), ...weighed };
  });
  const results = { output, ...(returnWeights && { weights }), ...(logSumExp && { logSumExp }) };
  const names = Object.keys(results);
  record({
    op,
    inputs: differentiable,
    outputs: Object.values(results),
    saved: { q, k, v, ...bindings, x },
    refusal,
    backward: (gradients, saved, needs) => {
      const named = Object.fromEntries(names.map((name, i) => [name, gradients[i]]));
      return scaledDotProductAttentionGradient(materialised, saved, named, needs);
    },
  });
  if (!scores) return results;
  record({
    op,
    inputs: differentiable,
    outputs: [scores],
    refusal: `${op}: the loss must not depend on returned scores, which have no gradient, got one that does`,
    backward: () => ({}),
  });
  return { ...results, scores };
}
