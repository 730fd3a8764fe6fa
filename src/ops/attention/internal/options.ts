/**
 * The options of the attention ops. Each is one record: what it checks, what it puts into the binding `table`, its uniform
 * fields, its constants, and the reason if it has no gradient. One record may handle several names that belong together.
 */
import { ArgumentError } from '../../../gpu/errors.ts';
import type { UniformValues } from '../../../gpu/reflect.ts';
import type { Constants } from '../../../gpu/shader.ts';
import type { OptionFields } from '../../../kernels/attention.ts';
import { dropoutFields } from '../../../kernels/launch.ts';
import type { Device } from '../../../tensor/device.ts';
import { formatShape, type Shape } from '../../../tensor/shape.ts';
import { Tensor } from '../../../tensor/tensor.ts';
import { checkBoolean, checkFinite, checkProbability, checkSeed, describe } from '../../internal/check.ts';
import { joinTable } from '../../internal/table.ts';
import { modifiers, type ModifierOptions } from './modifiers.ts';
import {
  ABSENT,
  checkFloats,
  checkIntegers,
  type CallSizes,
  type Effect,
  type OptionRecord,
  type Packing,
} from './option-record.ts';
import { keyMask, mask, position, type VisibilityOptions, type Window } from './visibility.ts';

export interface ScoreOptions extends ModifierOptions {
  /** Bounds the scaled scores smoothly: softcap · tanh(score / softcap) (Gemma 2). Positive. */
  softcap?: number;
  /**
   * Attention with linear biases (Press et al., 2022): slope · |i + offset − j| is subtracted from the score of query i and
   * key j, where i + offset is the query's position among the keys. [H] numbers, or a float32 tensor [H] or [B, H].
   */
  alibiSlopes?: readonly number[] | Float32Array | Tensor;
  /**
   * Attention sinks (Xiao et al., 2023; gpt-oss): for each head a logit that takes weight in the softmax but has no value.
   * The log-sum-exp includes it, so only one of the parts that `mergeAttention` merges may have it. [H] numbers, or a
   * float32 tensor [H].
   */
  sinks?: readonly number[] | Float32Array | Tensor;
  /**
   * The position of the first query among the keys, in place of the alignment of `isCausal` and `window`. With `isCausal`,
   * query i sees keys up to i + queryOffset. May be negative. A number, or one for each batch entry (numbers, or an int32
   * tensor [B]).
   */
  queryOffset?: number | readonly number[] | Int32Array | Tensor;
  /**
   * The number of keys of each batch entry. Keys past it are ignored and cost nothing, and 'bottom-right' aligns with the
   * last key before it. [B] numbers, or an int32 or uint32 tensor [B].
   */
  keyLengths?: readonly number[] | Int32Array | Uint32Array | Tensor;
  /**
   * Packed sequences of different lengths, as flash-attn's cu_seqlens: q is [1, H, total, D], and sequence s owns rows
   * queryOffsets[s] to queryOffsets[s + 1]. All other options treat it as batch entry s. Masks are refused.
   */
  queryOffsets?: readonly number[] | Int32Array | Uint32Array;
  /** The same for the rows of k and v. The two options must be given together. */
  keyOffsets?: readonly number[] | Int32Array | Uint32Array;
}

export interface AttentionOptions extends VisibilityOptions, ScoreOptions {
  /** The keys that a query sees around its own position. Blocks of keys that no query's window reaches cost nothing. */
  window?: Window;
  /** Multiplies the scores; default 1/√headDim. */
  scale?: number;
  /**
   * The probability with which each softmax weight is dropped, 0 to 1. The others are divided by 1 − dropoutP, as in
   * torch's scaled_dot_product_attention. Ops drop whenever it is positive, modules only in train() mode. Default 0.
   */
  dropoutP?: number;
  /**
   * Determines which weights are dropped, the same on every device and in every op: a whole number below 2⁵³. Default the
   * device's next seed.
   */
  dropoutSeed?: number;
  /** Also return each row's log Σ exp(score): float32 [B, H, Nq], with 3-D tensors [B, Nq]; −∞ for a row without keys. */
  returnLogSumExp?: boolean;
}

const softcap: OptionRecord = {
  names: ['softcap'],
  absent: { score: { softcap: 0 } },
  resolve({ softcap: cap }, { op }) {
    if (cap === undefined) return undefined;
    checkFinite(op, 'softcap', cap);
    if (Math.fround(cap) <= 0) throw new ArgumentError(`${op}: softcap must be positive, got ${cap}`);
    return { constants: { MODIFIES_SCORES: true }, fields: () => ({ score: { softcap: cap } }) };
  },
};

const scale: OptionRecord = {
  names: ['scale'],
  absent: {},
  resolve({ scale: factor }, { op, headDim }) {
    if (factor !== undefined) checkFinite(op, 'scale', factor);
    return { fields: () => ({ score: { scale: factor ?? 1 / Math.sqrt(headDim) } }) };
  },
};

const alibiSlopes: OptionRecord = {
  names: ['alibiSlopes'],
  absent: { score: { slopes_at: ABSENT, slopes_pitch: 0 } },
  resolve({ alibiSlopes: slopes }, sizes) {
    if (slopes === undefined) return undefined;
    const { op, batch, heads } = sizes;
    const segment = checkFloats('alibiSlopes', slopes, [[heads], [batch, heads]], sizes);
    const pitch = slopes instanceof Tensor && slopes.rank === 2 ? heads : 0;
    return {
      constants: { MODIFIES_SCORES: true },
      segments: [segment],
      fields: ([at]) => ({ score: { slopes_at: at, slopes_pitch: pitch } }),
      ...(slopes instanceof Tensor && {
        inputs: { alibiSlopes: slopes },
        ...(slopes.requiresGrad && {
          refusal: `${op}: alibiSlopes must not require a gradient, which they have none of, got a tensor that does`,
        }),
      }),
    };
  },
};

const sinks: OptionRecord = {
  names: ['sinks'],
  absent: { output: { sinks_at: ABSENT } },
  resolve({ sinks: logits }, sizes) {
    if (logits === undefined) return undefined;
    return {
      segments: [checkFloats('sinks', logits, [[sizes.heads]], sizes)],
      fields: ([at]) => ({ output: { sinks_at: at } }),
      ...(logits instanceof Tensor && { inputs: { sinks: logits } }),
    };
  },
};

const dropout: OptionRecord = {
  names: ['dropoutP', 'dropoutSeed'],
  absent: { dropout: dropoutFields(0, 0) },
  resolve({ dropoutP: p = 0, dropoutSeed }, { op, like }) {
    checkProbability(op, 'dropoutP', p);
    checkSeed(op, 'dropoutSeed', dropoutSeed);
    if (p === 0) return undefined;
    const dropped = dropoutFields(p, dropoutSeed ?? like.tensor.device.nextSeed());
    return { constants: { HAS_DROPOUT: true }, fields: () => ({ dropout: dropped }) };
  },
};

const keyLengths: OptionRecord = {
  names: ['keyLengths'],
  absent: { sequences: { key_lengths_at: ABSENT } },
  resolve({ keyLengths: lengths }, sizes) {
    if (lengths === undefined) return undefined;
    const segment = checkIntegers('keyLengths', lengths, [0, sizes.keyLength], ['int32', 'uint32'], sizes);
    return { segments: [segment], fields: ([at]) => ({ sequences: { key_lengths_at: at } }) };
  },
};

const packing: OptionRecord = {
  names: ['queryOffsets', 'keyOffsets'],
  absent: { sequences: { packed_at: ABSENT, count: 0 } },
  resolve(_, { packing: packed }) {
    if (!packed) return undefined;
    const { words, count } = packed;
    return { segments: [{ words }], fields: ([at]) => ({ sequences: { packed_at: at, count } }), isPacked: true };
  },
};

/** How q's and k's rows are divided among sequences, or undefined if they are not. All other options use these sizes. */
export function checkPacking(op: string, options: AttentionOptions, q: Shape, k: Shape): Packing | undefined {
  const { queryOffsets, keyOffsets } = options;
  if (queryOffsets === undefined && keyOffsets === undefined) return undefined;
  if (queryOffsets === undefined || keyOffsets === undefined) {
    const [given, absent] =
      queryOffsets === undefined ? ['keyOffsets', 'queryOffsets'] : ['queryOffsets', 'keyOffsets'];
    throw new ArgumentError(`${op}: ${absent} must be given with ${given}, got undefined`);
  }
  if (q.length !== 4 || q[0] !== 1) {
    throw new ArgumentError(`${op}: query must be [1, heads, total, headDim] with queryOffsets, got ${formatShape(q)}`);
  }
  for (const name of ['mask', 'keyMask'] as const) {
    if (options[name] !== undefined) {
      throw new ArgumentError(`${op}: ${name} must not come with queryOffsets, got both: use maskMod or keyLengths`);
    }
  }
  const queryLength = checkCumulative(op, 'queryOffsets', queryOffsets, q[2]);
  const keyLength = checkCumulative(op, 'keyOffsets', keyOffsets, k[2]);
  if (queryOffsets.length !== keyOffsets.length) {
    throw new ArgumentError(
      `${op}: keyOffsets must have queryOffsets' length ${queryOffsets.length}, got ${keyOffsets.length}`,
    );
  }
  const words = Uint32Array.from([...queryOffsets, ...keyOffsets]);
  return { count: queryOffsets.length - 1, queryLength, keyLength, words };
}

/** The largest difference between neighbours of the offsets 0, …, total. */
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

const returnLogSumExp: OptionRecord = {
  names: ['returnLogSumExp'],
  absent: {},
  resolve({ returnLogSumExp: isWanted }, { op }) {
    checkBoolean(op, 'returnLogSumExp', isWanted);
    return undefined;
  },
};

const OPTIONS: readonly OptionRecord[] = [
  mask,
  keyMask,
  position,
  scale,
  dropout,
  returnLogSumExp,
  softcap,
  alibiSlopes,
  sinks,
  keyLengths,
  packing,
  modifiers,
];

export const ATTENTION_OPTIONS = OPTIONS.flatMap(({ names }) => names);

type Fields = Record<string, UniformValues>;

function addFields(target: Fields, fields: Readonly<Fields>): Fields {
  for (const [struct, values] of Object.entries(fields)) target[struct] = { ...target[struct], ...values };
  return target;
}

const NOTHING_GIVEN = OPTIONS.map(({ absent }) => absent).reduce<Fields>(addFields, {});

/** @throws ArgumentError for an option that does not fit */
export function checkOptionValues(options: AttentionOptions, sizes: CallSizes): Effect[] {
  return OPTIONS.map((option) => option.resolve(options, sizes)).filter((effect) => effect !== undefined);
}

/** What kernels take of checked options, with their small inputs joined. Call it inside a scope, unrecorded. */
export function resolveOptions(
  op: string,
  device: Device,
  effects: readonly Effect[],
): { table?: Tensor; options: OptionFields } {
  const segments = effects.flatMap((effect) => effect.segments ?? []);
  const { table, places } = joinTable(op, device, segments);
  return { table, options: combineEffects(effects, places) };
}

/** `places` are the words of `table` at which the effects' segments begin. */
export function combineEffects(effects: readonly Effect[], places: readonly number[]): OptionFields {
  const fields: Fields = { ...NOTHING_GIVEN };
  let first = 0;
  for (const { fields: given, segments = [] } of effects) {
    if (given) addFields(fields, given(places.slice(first, first + segments.length)));
    first += segments.length;
  }
  const insertions = effects.flatMap((effect) => effect.insertions ?? []);
  return {
    constants: Object.assign({}, ...effects.map(({ constants }) => constants)) as Constants,
    fields,
    insertions,
    gradientInsertions: [...insertions, ...effects.flatMap(({ derivatives = [] }) => derivatives)],
    band: effects.find(({ band }) => band)!.band!,
    isPacked: effects.some(({ isPacked }) => isPacked),
    hasTable: places.length > 0,
    maskBlock: effects.find(({ maskBlock }) => maskBlock)?.maskBlock,
  };
}
