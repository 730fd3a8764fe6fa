import { ArgumentError } from '../../gpu/errors.ts';
import { planFlashAttention } from '../../kernels/flash-attention.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import {
  ATTENTION_OPTIONS,
  checkAttention,
  type AttentionOptions,
  type AttentionResult,
} from './internal/attention.ts';
import { describe } from '../internal/check.ts';
import { runFused } from './internal/fused-attention.ts';

export { MAX_VALUE_DIM } from '../../kernels/attention-tile.ts';

export interface FlashAttentionOptions extends AttentionOptions {
  /** Keys a step of the online softmax: a power of two from 4 to 128. Default 32. */
  blockSize?: number;
}

/**
 * Exact attention in O(length) memory: softmax(scale · q kᵀ + mask) v by tiles with an online softmax (Dao,
 * FlashAttention-2, 2023). Nothing is allocated but the output and, on demand, the log-sum-exp. q, k, v, a float mask and
 * sinks have gradients, through the output and the log-sum-exp; the backward pass takes O(length) memory too.
 *
 * @param q [B, H, Nq, D], or [B, Nq, D] for one head; float32 or float16; any strides
 * @param k [B, Hkv, Nk, D] with Hkv dividing H (grouped-query heads: head h reads key head ⌊h·Hkv/H⌋)
 * @param v [B, Hkv, Nk, Dv], Dv ≤ 256
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function flashAttention(q: Tensor, k: Tensor, v: Tensor, options: FlashAttentionOptions = {}): AttentionResult {
  const op = 'flashAttention';
  const args = checkAttention(op, q, k, v, options, [...ATTENTION_OPTIONS, 'blockSize']);
  checkBlockSize(op, options.blockSize);
  return runFused(args, { q, k, v, mask: options.mask, keyMask: options.keyMask }, (problem, traits, choices) =>
    planFlashAttention(problem, traits, choices, options.blockSize),
  );
}

export function checkBlockSize(op: string, blockSize: number | undefined): void {
  if (blockSize === undefined) return;
  if (!Number.isInteger(blockSize) || blockSize < 4 || blockSize > 128 || !Number.isInteger(Math.log2(blockSize))) {
    throw new ArgumentError(`${op}: blockSize must be a power of two from 4 to 128, got ${describe(blockSize)}`);
  }
}
