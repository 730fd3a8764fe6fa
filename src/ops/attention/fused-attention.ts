/** The ops whose scores stay in the kernel: flash and local attention, and attention to a cache. */
import { record, records } from '../../autograd/tape.ts';
import { ArgumentError } from '../../gpu/errors.ts';
import {
  chooseTile,
  planAttention,
  tileBytes,
  type AttentionOp,
  type AttentionProblem,
} from '../../kernels/attention.ts';
import { operandOf } from '../../kernels/launch.ts';
import type { FloatTensor, Tensor } from '../../tensor/tensor.ts';
import { describe } from '../internal/check.ts';
import { axesLike } from '../internal/heads.ts';
import {
  callAttention,
  type AttentionCall,
  type AttentionResult,
  type AttentionTensors,
  type StoredKeys,
} from './internal/call.ts';
import { attentionGradient } from './internal/gradient.ts';
import type { AttentionOptions, Window } from './internal/options.ts';

export interface FlashAttentionOptions extends AttentionOptions {
  /** Keys per step of the online softmax: a power of two from 4 to 128. Default 32. */
  blockSize?: number;
}

/**
 * Exact attention in O(length) memory: softmax(scale · q kᵀ + mask) v by tiles with an online softmax (Dao,
 * FlashAttention-2, 2023). It allocates only the output and, on demand, the log-sum-exp. q, k, v, a float mask and
 * sinks have gradients, through the output and the log-sum-exp. The backward pass takes O(length) memory too.
 *
 * @param q [B, H, Nq, D], or [B, Nq, D] for one head; float32 or float16; any strides
 * @param k [B, Hkv, Nk, D] with Hkv dividing H (grouped-query heads: head h reads key head ⌊h·Hkv/H⌋)
 * @param v [B, Hkv, Nk, Dv]
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function flashAttention(q: Tensor, k: Tensor, v: Tensor, options: FlashAttentionOptions = {}): AttentionResult {
  const op = 'flashAttention';
  return callAttention(op, { q, k, v }, options, (call) => computeFused(call, op, options, options.blockSize), {
    names: ['blockSize'],
    check: () => {
      checkBlockSize(op, options.blockSize);
      checkTile(op, v, options);
    },
  });
}

/** @throws ArgumentError unless it is absent or a power of two from 4 to 128 */
export function checkBlockSize(op: string, blockSize: number | undefined): void {
  if (blockSize === undefined) return;
  if (!Number.isInteger(blockSize) || blockSize < 4 || blockSize > 128 || !Number.isInteger(Math.log2(blockSize))) {
    throw new ArgumentError(`${op}: blockSize must be a power of two from 4 to 128, got ${describe(blockSize)}`);
  }
}

/** Eight queries and `blockSize` keys must fit workgroup memory. A block mask with smaller blocks makes the tile smaller. */
function checkTile(op: string, v: Tensor, { blockSize, blockMask }: FlashAttentionOptions): void {
  if (blockSize === undefined) return;
  const { traits } = v.device;
  const keys = Math.min(blockSize, blockMask?.blockSize ?? Infinity);
  if (chooseTile(v.shape.at(-1)!, keys, traits)) return;
  throw new ArgumentError(
    `${op}: blockSize must fit the device's maxComputeWorkgroupStorageSize of ` +
      `${traits.maxComputeWorkgroupStorageSize} bytes, got ${keys}, which needs ${tileBytes(8, keys)} bytes`,
  );
}

export interface LocalAttentionOptions extends AttentionOptions {
  /** The keys that a query sees around its own position. */
  window: Window;
}

/**
 * Sliding-window attention: query i sees keys [i − left, i + right]. Only those are read, so work grows with
 * length · window and memory with length, in the backward pass too. Masks and causality narrow the window further. q, k, v,
 * a float mask and sinks have gradients, through the output and the log-sum-exp.
 *
 * @param q [B, H, Nq, D], or [B, Nq, D] for one head; float32 or float16; any strides
 * @param k [B, Hkv, Nk, D] with Hkv dividing H
 * @param v [B, Hkv, Nk, Dv]
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function localAttention(q: Tensor, k: Tensor, v: Tensor, options: LocalAttentionOptions): AttentionResult {
  const op = 'localAttention';
  const given: Partial<LocalAttentionOptions> = options === undefined ? {} : options;
  return callAttention(op, { q, k, v }, given, (call) => computeFused(call, op, given), {
    check: () => {
      if (given.window !== undefined) return;
      throw new ArgumentError(`${op}: window must be { left, right }, got undefined`);
    },
  });
}

/**
 * Attention of q [B, H, Nq, D] to the keys and values of a cache, read in place. Queries may be float32 or float16,
 * whatever is stored. The result has the query's dtype. It takes the kernels that are chosen for `flashAttention`, and has no gradient.
 */
export function attendStored(
  op: string,
  tensors: AttentionTensors,
  stored: StoredKeys,
  options: AttentionOptions,
): AttentionResult {
  return callAttention(op, tensors, options, (call) => computeFused(call, 'flashAttention', options), {
    stored,
  });
}

/** Allocates the results of a fused kernel, dispatches it, and notes on the tape what its gradient reads. */
export function computeFused(
  call: AttentionCall,
  kernelsOf: AttentionOp,
  { returnLogSumExp = false }: AttentionOptions,
  blockSize?: number,
): { output: FloatTensor; logSumExp?: FloatTensor } {
  const { q, k, v, inputs, bindings, differentiable, refusal, outputShape } = call;
  const { device } = q;
  const { op, dtype } = inputs;
  // the gradient reads the log-sum-exp
  const writesLogSumExp = returnLogSumExp || (refusal === undefined && records(...Object.values(differentiable)));
  const output = device.empty(outputShape, dtype, op, axesLike(q));
  const logSumExp = writesLogSumExp ? device.empty(outputShape.slice(0, 3), 'float32', op) : undefined;
  const problem: AttentionProblem = {
    ...inputs,
    kernelsOf,
    output: operandOf(output),
    writesLogSumExp,
    blockSize,
  };
  const { passes, merge } = planAttention(problem, device.traits, device.kernels);
  const operands = { q, k, v, ...bindings };
  if (merge) {
    const partOutput = device.empty([merge.parts, ...outputShape], 'float32', op);
    const partLogSumExp = device.empty([merge.parts, ...outputShape.slice(0, 3)], 'float32', op);
    const partial = { ...operands, output: partOutput, log_sum_exp: partLogSumExp };
    for (const pass of passes) device.dispatch(op, pass, partial);
    const parts = { part_output: partOutput, part_log_sum_exp: partLogSumExp };
    device.dispatch(op, merge, { ...parts, output, log_sum_exp: logSumExp });
  } else {
    for (const pass of passes) device.dispatch(op, pass, { ...operands, output, log_sum_exp: logSumExp });
  }
  const results = { output, ...(returnLogSumExp && { logSumExp }) };
  record({
    op,
    inputs: differentiable,
    outputs: Object.values(results),
    saved: refusal === undefined ? { ...operands, output, logSumExp } : undefined,
    refusal,
    backward: ([dOutput, dLogSumExp], saved, needs) =>
      attentionGradient(problem, saved, { dOutput, dLogSumExp }, needs),
  });
  return results;
}
