import { ArgumentError } from '../gpu/errors.ts';
import type { AttentionPlan, AttentionProblem } from '../kernels/attention-tile.ts';
import { planFlashAttention } from '../kernels/flash-attention.ts';
import type { Limits } from '../kernels/launch.ts';
import type { Tensor } from '../tensor/tensor.ts';
import {
  ATTENTION_OPTIONS,
  attentionOperand,
  checkAttention,
  type AttentionArguments,
  type AttentionOptions,
  type AttentionResult,
} from './attention.ts';
import { describe } from './check.ts';
import { enqueue } from './enqueue.ts';

export { MAX_VALUE_DIM } from '../kernels/attention-tile.ts';

export interface FlashAttentionOptions extends AttentionOptions {
  /** Keys a step of the online softmax: a power of two from 4 to 128. Default 32. */
  blockSize?: number;
}

/**
 * Exact attention in O(length) memory: softmax(scale · q kᵀ + mask) v by tiles with an online softmax (Dao,
 * FlashAttention-2, 2023). Nothing is allocated but the output and, on demand, the log-sum-exp.
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
  return runFused(args, { q, k, v, mask: options.mask, keyMask: options.keyMask }, (problem, limits) =>
    planFlashAttention(problem, limits, options.blockSize),
  );
}

export function checkBlockSize(op: string, blockSize: number | undefined): void {
  if (blockSize === undefined) return;
  if (!Number.isInteger(blockSize) || blockSize < 4 || blockSize > 128 || !Number.isInteger(Math.log2(blockSize))) {
    throw new ArgumentError(`${op}: blockSize must be a power of two from 4 to 128, got ${describe(blockSize)}`);
  }
}

/** Allocates the results of a fused attention kernel and records it. */
export function runFused(
  { device, problem, outputShape, rowShape, headsInRows }: AttentionArguments,
  inputs: { q: Tensor; k: Tensor; v: Tensor; mask?: Tensor; keyMask?: Tensor },
  plan: (problem: AttentionProblem, limits: Limits) => AttentionPlan,
): AttentionResult {
  const { op } = problem;
  return device.scope(() => {
    const output = device.empty(outputShape, problem.dtype, op, headsInRows ? [0, 2, 1, 3] : undefined);
    const logSumExp = problem.writesLogSumExp ? device.empty(rowShape, 'float32', op) : undefined;
    const launch = plan({ ...problem, output: attentionOperand(output) }, device.runtime.limits);
    const { q, k, v, mask, keyMask } = inputs;
    enqueue(op, launch, { q, k, v, mask, key_mask: keyMask, output, log_sum_exp: logSumExp });
    return logSumExp ? { output, logSumExp } : { output };
  });
}
