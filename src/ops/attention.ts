/** What the attention ops have in common: their options, the checks, and the problem that a kernel is planned for. */
import { ArgumentError } from '../gpu/errors.ts';
import type { AttentionPlan, AttentionProblem, BlockPlaces, KeyPlaces } from '../kernels/attention-operands.ts';
import type { Operand } from '../kernels/launch.ts';
import { MAX_LENGTH, MAX_QUERY_OFFSET } from '../kernels/visibility.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import { checkAlike, checkBoolean, checkFinite, checkFloat } from './check.ts';
import { enqueue, operandOf } from './enqueue.ts';
import {
  checkPacking,
  checkScores,
  resolveScores,
  SCORE_OPTIONS,
  type CheckedScores,
  type ScoreOptions,
} from './score-options.ts';
import type { Segment } from './table.ts';
import { checkVisibility, type VisibilityOptions, type Window } from './visibility.ts';

export interface AttentionOptions extends VisibilityOptions, ScoreOptions {
  /** The keys that a query sees around its own position; blocks of keys out of every query's window cost nothing. */
  window?: Window;
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

export const ATTENTION_OPTIONS = [
  'mask',
  'keyMask',
  'isCausal',
  'window',
  'scale',
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
  // such an output's heads merge again without a copy
  const headsInRows = !isHeadless && heads > 1 && queryRows > 1 && q.strides[1] < q.strides[2];
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
    scores,
    outputShape: isHeadless ? [batch, queryLength, valueDim] : [storedBatch, heads, queryRows, valueDim],
    rowShape: isHeadless ? [batch, queryLength] : [storedBatch, heads, queryRows],
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
    if (length > MAX_LENGTH) fail(`${name} length`, `be at most ${MAX_LENGTH}`, length);
  }
  if (keyDim !== headDim) fail('key headDim', `equal query's ${headDim}`, keyDim);
  if (valueLength !== keyLength) fail('value length', `equal key's ${keyLength}`, valueLength);
  if (valueHeads !== keyHeads) fail('value heads', `equal key's ${keyHeads}`, valueHeads);
  if (heads % keyHeads !== 0) fail('key heads', `divide query's ${heads}`, keyHeads);
}

/** Where the keys of a cache lie; of a paged one with its page table, `pitch` pages a batch entry. */
export type CacheKeys =
  | Exclude<KeyPlaces, { layout: 'paged' }>
  | { readonly layout: 'paged'; readonly pageSize: number; readonly pages: Segment; readonly pitch: number };

/** Allocates the results of a fused attention kernel and records it. */
export function runFused(
  args: AttentionArguments,
  inputs: { q: Tensor; k: Tensor; v: Tensor; mask?: Tensor; keyMask?: Tensor },
  plan: (problem: AttentionProblem, traits: Traits, choices: KernelChoices) => AttentionPlan,
  cache: CacheKeys = { layout: 'contiguous' },
): AttentionResult {
  const { device, outputShape, rowShape, headsInRows } = args;
  const { op, dtype, writesLogSumExp } = args.problem;
  return device.scope(() => {
    const blockMask = args.scores.modifiers?.blockMask;
    const others = [
      ...(blockMask ? [{ tensor: blockMask.kinds }] : []),
      ...(cache.layout === 'paged' ? [cache.pages] : []),
    ];
    const { table, scores, otherPlaces } = resolveScores(op, device, args.scores, others);
    const output = device.empty(outputShape, dtype, op, headsInRows ? [0, 2, 1, 3] : undefined);
    const logSumExp = writesLogSumExp ? device.empty(rowShape, 'float32', op) : undefined;
    const problem: AttentionProblem = {
      ...args.problem,
      scores,
      keys: cache.layout === 'paged' ? { ...cache, at: otherPlaces.at(-1)! } : cache,
      ...(blockMask && { blocks: blockPlaces(blockMask.kinds, blockMask.blockSize, otherPlaces[0]) }),
      output: attentionOperand(output),
    };
    const { merge, ...launch } = plan(problem, device.traits, device.kernels);
    const { q, k, v, mask, keyMask } = inputs;
    const operands = { q, k, v, mask, key_mask: keyMask, table };
    if (!merge) {
      enqueue(op, launch, { ...operands, output, log_sum_exp: logSumExp });
    } else {
      const partOutput = device.empty([merge.parts, ...outputShape], 'float32', op);
      const partLogSumExp = device.empty([merge.parts, ...rowShape], 'float32', op);
      enqueue(op, launch, { ...operands, output: partOutput, log_sum_exp: partLogSumExp });
      enqueue(op, merge, {
        part_output: partOutput,
        part_log_sum_exp: partLogSumExp,
        output,
        log_sum_exp: logSumExp,
      });
    }
    return logSumExp ? { output, logSumExp } : { output };
  });
}

/** Kinds [B or 1, H or 1, query blocks, key blocks]. */
function blockPlaces({ shape }: Tensor, blockSize: number, at: number): BlockPlaces {
  const [batch, heads, rows, columns] = shape;
  return {
    at,
    blockSize,
    columns,
    pitches: [batch === 1 ? 0 : heads * rows * columns, heads === 1 ? 0 : rows * columns],
  };
}
