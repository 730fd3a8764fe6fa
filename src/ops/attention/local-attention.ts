import { ArgumentError } from '../../gpu/errors.ts';
import { planLocalAttention } from '../../kernels/local-attention.ts';
import { checkOptions } from '../../tensor/options.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import {
  ATTENTION_OPTIONS,
  checkAttention,
  type AttentionOptions,
  type AttentionResult,
} from './internal/attention.ts';
import { describe } from '../internal/check.ts';
import { runFused } from './internal/fused-attention.ts';
import type { Window } from './internal/visibility.ts';

export interface LocalAttentionOptions extends AttentionOptions {
  /** The keys that a query sees around its own position. */
  window: Window;
}

/**
 * Sliding-window attention: query i sees keys [i − left, i + right] and only those are read, so that work grows with
 * length · window and memory with length, in the backward pass too. Masks and causality narrow the band further. q, k, v,
 * a float mask and sinks have gradients, through the output and the log-sum-exp.
 *
 * @param q [B, H, Nq, D], or [B, Nq, D] for one head; float32 or float16; any strides
 * @param k [B, Hkv, Nk, D] with Hkv dividing H
 * @param v [B, Hkv, Nk, Dv], Dv ≤ 256
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function localAttention(q: Tensor, k: Tensor, v: Tensor, options: LocalAttentionOptions): AttentionResult {
  const op = 'localAttention';
  checkOptions(op, options === undefined ? {} : options, ATTENTION_OPTIONS);
  const window: unknown = (options as LocalAttentionOptions | undefined)?.window;
  if (window === null || typeof window !== 'object' || Array.isArray(window)) {
    throw new ArgumentError(`${op}: window must be { left, right }, got ${describe(window)}`);
  }
  const args = checkAttention(op, q, k, v, options, ATTENTION_OPTIONS);
  return runFused(args, { q, k, v, mask: options.mask, keyMask: options.keyMask }, planLocalAttention);
}
