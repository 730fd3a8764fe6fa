/** What the attention ops have in common: their options, the checks, and the problem that a kernel is planned for. */
import { ArgumentError } from '../../../gpu/errors.ts';
import type { AttentionProblem } from '../../../kernels/attention-operands.ts';
import type { Operand } from '../../../kernels/launch.ts';
import type { Dropout } from '../../../kernels/score.ts';
import { MAX_LENGTH, MAX_QUERY_OFFSET } from '../../../kernels/visibility.ts';
import type { Device } from '../../../tensor/device.ts';
import { checkOptions } from '../../../tensor/options.ts';
import { formatShape } from '../../../tensor/shape.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { checkAlike, checkBoolean, checkFinite, checkFloat, describe } from '../../internal/check.ts';
import { operandOf } from '../../internal/enqueue.ts';
import { checkPacking, checkScores, SCORE_OPTIONS, type CheckedScores, type ScoreOptions } from './score-options.ts';
import { checkVisibility, type VisibilityOptions, type Window } from './visibility.ts';

export interface AttentionOptions extends VisibilityOptions, ScoreOptions {
  /** The keys that a query sees around its own position; blocks of keys out of every query's window cost nothing. */
  window?: Window;
  /** Multiplies the scores; default 1/√headDim. */
  scale?: number;
  /**
   * The probability with which each softmax weight is dropped, 0 to 1; what is kept is divided by 1 − dropoutP, as in
   * torch's scaled_dot_product_attention. It is done whenever positive: modules do so in train() mode only. Default 0.
   */
  dropoutP?: number;
  /**
   * Determines which weights are dropped, on every device and by every op alike: a whole number below 2⁵³. Default the
   * device's next.
   */
  dropoutSeed?: number;
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

export const ATTENTION_OPTIONS = [
  'mask',
  'keyMask',
  'isCausal',
  'window',
  'scale',
  'dropoutP',
  'dropoutSeed',
  'returnLogSumExp',
  ...SCORE_OPTIONS,
] as const;

/** The checked arguments of an attention op; the rest of the problem is known once memory is allocated. */
export interface AttentionArguments {
  readonly device: Device;
  readonly problem: Omit<AttentionProblem, 'output' | 'scores' | 'keys' | 'blocks'>;
  readonly scores: CheckedScores;
  readonly outputShape: readonly number[];
  readonly rowShape: readonly number[];
  /** The query's heads lie inside its rows; the output's then do too, and merge again without a copy. */
  readonly headsInRows: boolean;
}

export function checkAttention(
  op: string,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions,
  known: readonly string[],
  /** k and v may be stored in another float dtype than q. */
  { mixesDTypes = false } = {},
): AttentionArguments {
  checkOptions(op, options, known);
  checkFloat(op, 'query', q);
  checkFloat(op, 'key', k);
  checkFloat(op, 'value', v);
  if (!mixesDTypes) checkAlike(op, 'query', { query: q, key: k, value: v });
  checkShapes(op, q, k, v);
  const isHeadless = q.rank === 3;
  const packing = checkPacking(op, options, q, k);
  const [storedBatch, heads, queryRows, headDim] = shapeOf(q);
  const [, kvHeads, keyRows] = shapeOf(k);
  const valueDim = v.shape.at(-1)!;
  const {
    count: batch,
    queryLength,
    keyLength,
  } = packing ?? { count: storedBatch, queryLength: queryRows, keyLength: keyRows };
  const { scale = 1 / Math.sqrt(headDim), queryOffset } = options;
  checkFinite(op, 'scale', scale);
  checkBoolean(op, 'returnLogSumExp', options.returnLogSumExp);
  if (
    typeof queryOffset === 'number' &&
    !(Number.isInteger(queryOffset) && Math.abs(queryOffset) <= MAX_QUERY_OFFSET)
  ) {
    throw new ArgumentError(
      `${op}: queryOffset must be a whole number from ${-MAX_QUERY_OFFSET} to ${MAX_QUERY_OFFSET}, got ${queryOffset}`,
    );
  }
  const like = { name: 'query', tensor: q };
  const sizes = { batch, heads, queryLength, keyLength, like };
  const scores = checkScores(op, options, sizes, packing);
  const visibility = checkVisibility(op, options, {
    ...sizes,
    isHeadless,
    ...(queryOffset !== undefined && { queryOffset: typeof queryOffset === 'number' ? queryOffset : 0 }),
    lengthsVary: packing !== undefined || scores.keyLengths !== undefined,
  });
  const dropout = checkDropout(op, options, q.device);
  return {
    device: q.device,
    problem: {
      op,
      dtype: q.dtype,
      kvDtype: k.dtype,
      batch,
      heads,
      kvHeads,
      queryLength,
      keyLength,
      queryRows,
      headDim,
      valueDim,
      scale,
      q: attentionOperand(q),
      k: attentionOperand(k),
      v: attentionOperand(v),
      visibility,
      writesLogSumExp: options.returnLogSumExp ?? false,
    },
    scores: { ...scores, ...(dropout && { dropout }) },
    outputShape: isHeadless ? [batch, queryLength, valueDim] : [storedBatch, heads, queryRows, valueDim],
    rowShape: isHeadless ? [batch, queryLength] : [storedBatch, heads, queryRows],
    headsInRows: hasHeadsInRows(q),
  };
}

/** Axes of a 4-D tensor in the order of memory, where its heads lie inside its rows. */
export const HEADS_IN_ROWS = [0, 2, 1, 3];

/** Whether the heads lie inside of rows, as those of a split projection. */
export function hasHeadsInRows({ shape, strides }: Tensor): boolean {
  const [, heads, rows] = shape;
  return shape.length === 4 && heads > 1 && rows > 1 && strides[1] < strides[2];
}

/** Undefined where nothing is dropped. */
function checkDropout(
  op: string,
  { dropoutP = 0, dropoutSeed }: Pick<AttentionOptions, 'dropoutP' | 'dropoutSeed'>,
  device: Device,
): Dropout | undefined {
  if (typeof dropoutP !== 'number' || !(dropoutP >= 0 && dropoutP <= 1)) {
    throw new ArgumentError(`${op}: dropoutP must be a number from 0 to 1, got ${describe(dropoutP)}`);
  }
  if (dropoutSeed !== undefined && !(Number.isSafeInteger(dropoutSeed) && dropoutSeed >= 0)) {
    throw new ArgumentError(
      `${op}: dropoutSeed must be a whole number from 0 to 2^53 - 1, got ${describe(dropoutSeed)}`,
    );
  }
  return dropoutP === 0 ? undefined : { p: dropoutP, seed: dropoutSeed ?? device.nextSeed() };
}

/** [batch, heads, length, dim] of a 3-D or 4-D tensor. */
function shapeOf({ shape }: Tensor): [number, number, number, number] {
  const [batch, heads, length, dim] = shape.length === 3 ? [shape[0], 1, shape[1], shape[2]] : shape;
  return [batch, heads, length, dim];
}

/** Strides of batch, head, row, column of a 3-D or 4-D tensor. */
export function attentionOperand(tensor: Tensor): Operand {
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
    if (length > MAX_LENGTH) fail(`${name} length`, `be at most ${MAX_LENGTH}`, length);
  }
  if (keyDim !== headDim) fail('key headDim', `equal query's ${headDim}`, keyDim);
  if (valueLength !== keyLength) fail('value length', `equal key's ${keyLength}`, valueLength);
  if (valueHeads !== keyHeads) fail('value heads', `equal key's ${keyHeads}`, valueHeads);
  if (heads % keyHeads !== 0) fail('key heads', `divide query's ${heads}`, keyHeads);
}
