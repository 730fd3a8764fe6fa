/** The options that say what happens to scores besides masks, checked and turned into what kernels take. */
import { ArgumentError } from '../../../gpu/errors.ts';
import type { Dropout, Scores } from '../../../kernels/score.ts';
import { MAX_QUERY_OFFSET } from '../../../kernels/visibility.ts';
import type { Device } from '../../../tensor/device.ts';
import { formatShape } from '../../../tensor/shape.ts';
import { Tensor } from '../../../tensor/tensor.ts';
import { checkFinite, checkSameDevice, checkTensor, describe } from '../../internal/check.ts';
import { captureSegments, checkModifiers, type CheckedModifiers, type ModifierOptions } from './modifiers.ts';
import { joinTable, type Segment } from '../../internal/table.ts';

export interface ScoreOptions extends ModifierOptions {
  /** Bounds the scaled scores smoothly: softcap · tanh(score / softcap) (Gemma 2). Positive. */
  softcap?: number;
  /**
   * Attention with linear biases (Press et al., 2022): slope · |i + offset − j| is taken from the score of query i and
   * key j, where i + offset is the query's position among the keys. [H] numbers, or a float32 tensor [H] or [B, H].
   */
  alibiSlopes?: readonly number[] | Float32Array | Tensor;
  /**
   * Attention sinks (Xiao et al., 2023; gpt-oss): a logit for each head that takes weight in the softmax and has no
   * value. The log-sum-exp includes it, so of partial results to be merged only one may have it. [H] numbers, or a
   * float32 tensor [H].
   */
  sinks?: readonly number[] | Float32Array | Tensor;
  /**
   * The position of the first query among the keys, in place of the alignment of `isCausal` and `window`: query i sees
   * causally keys up to i + queryOffset. May be negative. A number, or one for each batch entry (numbers, or an int32
   * tensor [B]).
   */
  queryOffset?: number | readonly number[] | Int32Array | Tensor;
  /**
   * Keys of each batch entry; those past them do not exist and cost nothing, and 'bottom-right' aligns with the last
   * that does. [B] numbers, or an int32 or uint32 tensor [B].
   */
  keyLengths?: readonly number[] | Int32Array | Uint32Array | Tensor;
  /**
   * Packed sequences of different lengths, as flash-attn's cu_seqlens: q is [1, H, total, D], and sequence s owns rows
   * queryOffsets[s] to queryOffsets[s + 1]. It is batch entry s to all other options; masks are not taken.
   */
  queryOffsets?: readonly number[] | Int32Array | Uint32Array;
  /** Likewise for the rows of k and v; one comes with the other. */
  keyOffsets?: readonly number[] | Int32Array | Uint32Array;
}

export const SCORE_OPTIONS = [
  'softcap',
  'alibiSlopes',
  'sinks',
  'queryOffset',
  'keyLengths',
  'queryOffsets',
  'keyOffsets',
  'scoreMod',
  'maskMod',
  'blockMask',
] as const;

/** The sizes that options are about; of a packed batch, the number of its sequences and the longest of them. */
export interface ScoreSizes {
  readonly batch: number;
  readonly heads: number;
  readonly queryLength: number;
  readonly keyLength: number;
  readonly like: { readonly name: string; readonly tensor: Tensor };
}

/** Checked options, whose small inputs are yet to be joined in a table. */
export interface CheckedScores {
  readonly softcap?: number;
  readonly slopes?: Segment & { readonly pitch: number };
  readonly sinks?: Segment;
  readonly queryOffsets?: Segment;
  readonly keyLengths?: Segment;
  readonly sequences?: Segment & { readonly count: number };
  readonly dropout?: Dropout;
  readonly modifiers?: CheckedModifiers;
}

type Numbers = readonly number[] | Float32Array | Int32Array | Uint32Array;

/** Sequences of a packed batch. */
export interface Packing {
  readonly count: number;
  readonly queryLength: number;
  readonly keyLength: number;
  /** Cumulative query lengths, then those of keys. */
  readonly words: Uint32Array;
}

/** How q's and k's rows are divided among sequences, or undefined where they are not. */
export function checkPacking(op: string, options: ScoreOptions, q: Tensor, k: Tensor): Packing | undefined {
  const { queryOffsets, keyOffsets } = options;
  if (queryOffsets === undefined && keyOffsets === undefined) return undefined;
  if (queryOffsets === undefined || keyOffsets === undefined) {
    const [given, absent] =
      queryOffsets === undefined ? ['keyOffsets', 'queryOffsets'] : ['queryOffsets', 'keyOffsets'];
    throw new ArgumentError(`${op}: ${absent} must be given with ${given}, got undefined`);
  }
  if (q.rank !== 4 || q.shape[0] !== 1) {
    throw new ArgumentError(
      `${op}: query must be [1, heads, total, headDim] with queryOffsets, got ${formatShape(q.shape)}`,
    );
  }
  for (const name of ['mask', 'keyMask'] as const) {
    if ((options as Record<string, unknown>)[name] !== undefined) {
      throw new ArgumentError(`${op}: ${name} must not come with queryOffsets, got both: use maskMod or keyLengths`);
    }
  }
  const [queryLength, keyLength] = [
    checkCumulative(op, 'queryOffsets', queryOffsets, q.shape[2]),
    checkCumulative(op, 'keyOffsets', keyOffsets, k.shape[2]),
  ];
  if (queryOffsets.length !== keyOffsets.length) {
    throw new ArgumentError(
      `${op}: keyOffsets must have queryOffsets' length ${queryOffsets.length}, got ${keyOffsets.length}`,
    );
  }
  const words = Uint32Array.from([...queryOffsets, ...keyOffsets]);
  return { count: queryOffsets.length - 1, queryLength, keyLength, words };
}

/** The largest step of 0, …, total. */
function checkCumulative(op: string, name: string, offsets: unknown, total: number): number {
  const isList = Array.isArray(offsets) || offsets instanceof Int32Array || offsets instanceof Uint32Array;
  const numbers = isList ? Array.from(offsets as ArrayLike<number>) : [];
  let longest = 0;
  let isRising = numbers.length >= 2 && numbers[0] === 0 && numbers.at(-1) === total;
  for (let i = 1; i < numbers.length && isRising; i++) {
    isRising = Number.isInteger(numbers[i]) && numbers[i] >= numbers[i - 1];
    longest = Math.max(longest, numbers[i] - numbers[i - 1]);
  }
  if (isRising) return longest;
  throw new ArgumentError(
    `${op}: ${name} must be whole numbers rising from 0 to the total length ${total}, got ${describe(offsets)}`,
  );
}

export function checkScores(
  op: string,
  options: ScoreOptions,
  sizes: ScoreSizes,
  packing: Packing | undefined,
): CheckedScores {
  const { softcap, alibiSlopes, sinks, queryOffset, keyLengths } = options;
  const { batch, heads, keyLength, like } = sizes;
  if (softcap !== undefined) {
    checkFinite(op, 'softcap', softcap);
    if (Math.fround(softcap) <= 0) throw new ArgumentError(`${op}: softcap must be positive, got ${softcap}`);
  }
  const modifiers = checkModifiers(op, options, sizes);
  return {
    ...(softcap !== undefined && { softcap }),
    ...(alibiSlopes !== undefined && { slopes: checkSlopes(op, alibiSlopes, sizes) }),
    ...(sinks !== undefined && { sinks: checkFloats(op, 'sinks', sinks, [[heads]], like) }),
    ...(queryOffset !== undefined &&
      typeof queryOffset !== 'number' && {
        queryOffsets: checkIntegers(
          op,
          'queryOffset',
          queryOffset,
          batch,
          [-MAX_QUERY_OFFSET, MAX_QUERY_OFFSET],
          ['int32'],
          like,
        ),
      }),
    ...(keyLengths !== undefined && {
      keyLengths: checkIntegers(op, 'keyLengths', keyLengths, batch, [0, keyLength], ['int32', 'uint32'], like),
    }),
    ...(packing && { sequences: { words: packing.words, count: packing.count } }),
    ...(modifiers && { modifiers }),
  };
}

function checkSlopes(
  op: string,
  slopes: Numbers | Tensor,
  { batch, heads, like }: ScoreSizes,
): Segment & { pitch: number } {
  const shapes = [[heads], [batch, heads]];
  const segment = checkFloats(op, 'alibiSlopes', slopes, shapes, like);
  return { ...segment, pitch: slopes instanceof Tensor && slopes.rank === 2 ? heads : 0 };
}

function checkFloats(
  op: string,
  name: string,
  values: unknown,
  shapes: readonly (readonly number[])[],
  like: ScoreSizes['like'],
): Segment {
  const expected = shapes.map(formatShape).join(' or ');
  if (isNumbers(values)) {
    if (values.length !== shapes[0][0] || !Array.from(values, Math.fround).every((value) => value < Infinity)) {
      throw new ArgumentError(
        `${op}: ${name} must be ${shapes[0][0]} numbers, one for each head, got ${describe(values)}`,
      );
    }
    return { words: Float32Array.from(values) };
  }
  if (!(values instanceof Tensor)) {
    throw new ArgumentError(
      `${op}: ${name} must be numbers or a float32 tensor of ${expected}, got ${describe(values)}`,
    );
  }
  checkTensor(op, name, values);
  checkSameDevice(op, like.name, like.tensor, name, values);
  if (values.dtype !== 'float32' || !shapes.some((shape) => formatShape(shape) === formatShape(values.shape))) {
    throw new ArgumentError(`${op}: ${name} must be a float32 tensor of ${expected}, got ${describe(values)}`);
  }
  return { tensor: values };
}

function checkIntegers(
  op: string,
  name: string,
  values: unknown,
  batch: number,
  [least, most]: readonly [number, number],
  dtypes: readonly string[],
  like: ScoreSizes['like'],
): Segment {
  if (isNumbers(values)) {
    const isValid = (value: number) => Number.isInteger(value) && value >= least && value <= most;
    if (values.length !== batch || !Array.from(values).every(isValid)) {
      throw new ArgumentError(
        `${op}: ${name} must be ${batch} whole numbers from ${least} to ${most}, one for each batch entry, got ${describe(values)}`,
      );
    }
    return { words: Int32Array.from(values) };
  }
  const expected = `${batch} whole numbers or an ${dtypes.join(' or ')} tensor of [${batch}]`;
  if (!(values instanceof Tensor)) {
    throw new ArgumentError(`${op}: ${name} must be ${expected}, got ${describe(values)}`);
  }
  checkTensor(op, name, values);
  checkSameDevice(op, like.name, like.tensor, name, values);
  if (!dtypes.includes(values.dtype) || values.rank !== 1 || values.shape[0] !== batch) {
    throw new ArgumentError(
      `${op}: ${name} must be an ${dtypes.join(' or ')} tensor of [${batch}], got ${describe(values)}`,
    );
  }
  return { tensor: values };
}

function isNumbers(values: unknown): values is Numbers {
  return (
    Array.isArray(values) ||
    values instanceof Float32Array ||
    values instanceof Int32Array ||
    values instanceof Uint32Array
  );
}

/** What kernels take of checked options, with their small inputs joined; call it inside a scope. */
export function resolveScores(
  op: string,
  device: Device,
  checked: CheckedScores,
  others: readonly Segment[] = [],
): { table?: Tensor; scores: Scores; otherPlaces: readonly number[] } {
  const { softcap, slopes, sinks, queryOffsets, keyLengths, sequences, dropout, modifiers } = checked;
  const captures = captureSegments(modifiers);
  const named = [slopes, sinks, queryOffsets, keyLengths, sequences];
  const present = named.filter((segment) => segment !== undefined);
  const { table, places } = joinTable(op, device, [...present, ...captures, ...others]);
  const at = (segment: Segment | undefined) => places[present.indexOf(segment!)];
  const capturesEnd = present.length + captures.length;
  return {
    table,
    scores: {
      ...(softcap !== undefined && { softcap }),
      ...(slopes && { slopes: { at: at(slopes), pitch: slopes.pitch } }),
      ...(sinks && { sinksAt: at(sinks) }),
      ...(queryOffsets && { queryOffsetsAt: at(queryOffsets) }),
      ...(keyLengths && { keyLengthsAt: at(keyLengths) }),
      ...(sequences && { sequences: { at: at(sequences), count: sequences.count } }),
      ...(dropout && { dropout }),
      ...(modifiers && { modifiers: modifiers.modifiers, capturesAt: places.slice(present.length, capturesEnd) }),
    },
    otherPlaces: places.slice(capturesEnd),
  };
}

/** The tensors among checked options that might be asked for a gradient. */
export function scoreTensors({ slopes, sinks, modifiers }: CheckedScores): Tensor[] {
  const given = [slopes, sinks].flatMap((segment) => (segment && 'tensor' in segment ? [segment.tensor] : []));
  return [...given, ...(modifiers?.captures ?? [])];
}

/** Why a call with these options has no gradient, or undefined where it has one. */
export function scoreRefusal(op: string, { slopes, modifiers }: CheckedScores): string | undefined {
  if (slopes && 'tensor' in slopes && slopes.tensor.requiresGrad) {
    return `${op}: alibiSlopes must not require a gradient, which they have none of, got a tensor that does`;
  }
  if (modifiers?.captures.some((tensor) => tensor.requiresGrad)) {
    return `${op}: a modifier's captures must not require a gradient, which they have none of, got a tensor that does`;
  }
  const { hasScoreMod = false, hasDerivative = false } = modifiers?.modifiers ?? {};
  if (hasScoreMod && !hasDerivative) {
    return `${op}: scoreMod must come with its derivative where a gradient is wanted, got none: scoreMod(source, { derivative })`;
  }
  return undefined;
}
