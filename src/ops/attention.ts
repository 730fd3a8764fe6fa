/** What the attention ops have in common: their options, the checks, and the problem that a kernel is planned for. */
import { ArgumentError } from '../gpu/errors.ts';
import type { AttentionPlan, AttentionProblem } from '../kernels/attention-operands.ts';
import type { Operand } from '../kernels/launch.ts';
import { UNBOUNDED } from '../kernels/visibility.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import { checkAlike, checkBoolean, checkFinite, checkFloat } from './check.ts';
import { enqueue, operandOf } from './enqueue.ts';
import { checkVisibility, type VisibilityOptions, type Window } from './visibility.ts';

export interface AttentionOptions extends VisibilityOptions {
  /** Multiplies the scores; default 1/√headDim. */
  scale?: number;
  /** Also return each row's log Σ exp(score): float32 [B, H, Nq], with 3-D tensors [B, Nq]; −∞ for a row without keys. */
  returnLogSumExp?: boolean;
}

export interface AttentionResult {
  /**
   * [B, H, Nq, Dv], with 3-D tensors [B, Nq, Dv]. Row-major, but where the query's heads lie inside its rows
   * ([B, Nq, H, D] in memory) so do the output's, and `output.transpose(1, 2).reshape([B, Nq, H·Dv])` is a view.
   */
  output: Tensor;
  /** Where asked for with `returnLogSumExp`. */
  logSumExp?: Tensor;
}

export const ATTENTION_OPTIONS = ['mask', 'keyMask', 'isCausal', 'scale', 'returnLogSumExp'] as const;

/** The checked arguments of an attention op; `output` is known once it is allocated. */
export interface AttentionArguments {
  readonly device: Device;
  readonly problem: Omit<AttentionProblem, 'output'>;
  readonly outputShape: readonly number[];
  readonly rowShape: readonly number[];
  /** The query's heads lie inside its rows, as those of a split projection; the output's then do too. */
  readonly headsInRows: boolean;
}

export function checkAttention(
  op: string,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions,
  known: readonly string[],
  window?: Window,
): AttentionArguments {
  checkOptions(op, options, known);
  checkFloat(op, 'query', q);
  checkFloat(op, 'key', k);
  checkFloat(op, 'value', v);
  checkAlike(op, 'query', { query: q, key: k, value: v });
  checkShapes(op, q, k, v);
  const isHeadless = q.rank === 3;
  const [batch, heads, queryLength, headDim] = shapeOf(q);
  const [, kvHeads, keyLength] = shapeOf(k);
  const valueDim = v.shape.at(-1)!;
  const { scale = 1 / Math.sqrt(headDim) } = options;
  checkFinite(op, 'scale', scale);
  checkBoolean(op, 'returnLogSumExp', options.returnLogSumExp);
  const visibility = checkVisibility(
    op,
    options,
    { batch, heads, queryLength, keyLength, isHeadless, like: { name: 'query', tensor: q } },
    window,
  );
  // such an output's heads merge again without a copy
  const headsInRows = !isHeadless && heads > 1 && queryLength > 1 && q.strides[1] < q.strides[2];
  return {
    device: q.device,
    problem: {
      op,
      dtype: q.dtype,
      batch,
      heads,
      kvHeads,
      queryLength,
      keyLength,
      headDim,
      valueDim,
      scale,
      q: attentionOperand(q),
      k: attentionOperand(k),
      v: attentionOperand(v),
      visibility,
      writesLogSumExp: options.returnLogSumExp ?? false,
    },
    outputShape: isHeadless ? [batch, queryLength, valueDim] : [batch, heads, queryLength, valueDim],
    rowShape: isHeadless ? [batch, queryLength] : [batch, heads, queryLength],
    headsInRows,
  };
}

/** [batch, heads, length, dim] of a 3-D or 4-D tensor. */
function shapeOf({ shape }: Tensor): [number, number, number, number] {
  const [batch, heads, length, dim] = shape.length === 3 ? [shape[0], 1, shape[1], shape[2]] : shape;
  return [batch, heads, length, dim];
}

/** Strides of batch, head, row, column of a 3-D or 4-D tensor. */
function attentionOperand(tensor: Tensor): Operand {
  const { strides, offset } = operandOf(tensor);
  return { strides: strides.length === 3 ? [strides[0], 0, strides[1], strides[2]] : strides, offset };
}

function checkShapes(op: string, q: Tensor, k: Tensor, v: Tensor): void {
  const fail = (argument: string, expected: string, got: unknown) => {
    throw new ArgumentError(`${op}: ${argument} must ${expected}, got ${String(got)}`);
  };
  if (q.rank !== 3 && q.rank !== 4) {
    fail('query', 'be [batch, heads, length, headDim] or [batch, length, headDim]', formatShape(q.shape));
  }
  for (const [name, tensor] of [
    ['key', k],
    ['value', v],
  ] as const) {
    if (tensor.rank !== q.rank) fail(name, `have query's rank ${q.rank}`, formatShape(tensor.shape));
    if (tensor.shape[0] !== q.shape[0]) fail(`${name} batch`, `equal query's ${q.shape[0]}`, tensor.shape[0]);
  }
  const [, heads, queryLength, headDim] = shapeOf(q);
  const [, keyHeads, keyLength, keyDim] = shapeOf(k);
  const [, valueHeads, valueLength] = shapeOf(v);
  for (const [name, length] of [
    ['query', queryLength],
    ['key', keyLength],
  ] as const) {
    if (length > UNBOUNDED) fail(`${name} length`, `be at most ${UNBOUNDED}`, length);
  }
  if (keyDim !== headDim) fail('key headDim', `equal query's ${headDim}`, keyDim);
  if (valueLength !== keyLength) fail('value length', `equal key's ${keyLength}`, valueLength);
  if (valueHeads !== keyHeads) fail('value heads', `equal key's ${keyHeads}`, valueHeads);
  if (heads % keyHeads !== 0) fail('key heads', `divide query's ${heads}`, keyHeads);
}

/** Allocates the results of a fused attention kernel and records it. */
export function runFused(
  { device, problem, outputShape, rowShape, headsInRows }: AttentionArguments,
  inputs: { q: Tensor; k: Tensor; v: Tensor; mask?: Tensor; keyMask?: Tensor },
  plan: (problem: AttentionProblem, traits: Traits, choices: KernelChoices) => AttentionPlan,
): AttentionResult {
  const { op } = problem;
  return device.scope(() => {
    const output = device.empty(outputShape, problem.dtype, op, headsInRows ? [0, 2, 1, 3] : undefined);
    const logSumExp = problem.writesLogSumExp ? device.empty(rowShape, 'float32', op) : undefined;
    const launch = plan({ ...problem, output: attentionOperand(output) }, device.traits, device.kernels);
    const { q, k, v, mask, keyMask } = inputs;
    enqueue(op, launch, { q, k, v, mask, key_mask: keyMask, output, log_sum_exp: logSumExp });
    return logSumExp ? { output, logSumExp } : { output };
  });
}
