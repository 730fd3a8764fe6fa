/**
 * The options of the attention ops. Each is one record: what it checks, what it puts into the binding `table`, its uniform
 * fields, its constants, and the reason if it has no gradient. One record may handle several names that belong together.
 */
import { ArgumentError } from '../../../gpu/errors.ts';
import type { UniformValues } from '../../../gpu/uniform.ts';
import type { Constants, Insertion } from '../../../gpu/shader.ts';
import { ABSENT, type OptionFields } from '../../../kernels/attention.ts';
import { dropoutFields } from '../../../kernels/launch.ts';
import { captureFields, planModifiers } from '../../../kernels/modifiers.ts';
import type { Device } from '../../../tensor/device.ts';
import { checkOptions } from '../../../tensor/options.ts';
import { broadcastStrides, formatShape, type Shape } from '../../../tensor/shape.ts';
import { Tensor } from '../../../tensor/tensor.ts';
import {
  checkBoolean,
  checkFinite,
  checkProbability,
  checkSameDevice,
  checkSeed,
  checkTensor,
  describe,
} from '../../internal/check.ts';
import { withHeads } from '../../internal/heads.ts';
import { joinTable, type Segment } from '../../internal/table.ts';
import type { BlockMask } from '../block-mask.ts';
import type { MaskMod, ScoreMod } from '../score-mod.ts';
import { blockFields, checkBlockMask, checkModifier, refusalOf } from './modifiers.ts';

// ---- what users give

/** `'top-left'`: query i sees keys up to i (PyTorch's SDPA); `'bottom-right'`: up to i + Nk − Nq (flash-attn, KV cache). */
export type Alignment = 'top-left' | 'bottom-right';

/** true is `'top-left'`. */
export type Causal = boolean | Alignment;

/** Keys around a query's own position, both bounds inclusive; −1 is unbounded. */
export interface Window {
  left: number;
  right: number;
  /** Which corner of the score matrix the diagonal starts from; default that of `isCausal`, else `'top-left'`. */
  align?: Alignment;
}

export interface VisibilityOptions {
  /**
   * bool: true = may attend; float (of the query's dtype): added to the scaled scores, −∞ hides. Broadcasts to [B, H, Nq, Nk]
   * by NumPy's rules, with 3-D tensors to [B, Nq, Nk].
   */
  mask?: Tensor;
  /** bool [B, Nk], true = may attend. */
  keyMask?: Tensor;
  isCausal?: Causal;
}

export interface ModifierOptions {
  /** Changes each scaled score before the masks: see the function `scoreMod`. */
  scoreMod?: ScoreMod;
  /** Says which keys a query may attend to, on top of every other mask: see the function `maskMod`. */
  maskMod?: MaskMod;
  /** A `maskMod` with the blocks that can be skipped: see `createBlockMask`. Its lengths must be those of the call. */
  blockMask?: BlockMask;
}

export interface ScoreOptions extends ModifierOptions {
  /** Bounds the scaled scores smoothly: softcap · tanh(score / softcap) (Gemma 2). Positive. */
  softcap?: number;
  /**
   * Attention with linear biases (Press et al., 2022): slope · |i + offset − j| is subtracted from the score of query i and
   * key j, where i + offset is the query's position among the keys. [H] finite numbers, or a float32 tensor [H] or [B, H].
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

// ---- what a record is made of

/** A call as its options see it. */
export interface CallSizes {
  /** The op's name, for errors. */
  readonly op: string;
  /** The tensor whose device and dtype the options' tensors must have, and its name in errors. */
  readonly like: { readonly name: string; readonly tensor: Tensor };
  /** Batch entries; the sequences of a packed batch. */
  readonly batch: number;
  readonly heads: number;
  /** Queries and keys of the longest sequence. */
  readonly queryLength: number;
  readonly keyLength: number;
  readonly headDim: number;
  /** The user's tensors have three axes: masks broadcast to a shape without an axis of heads. */
  readonly isHeadless: boolean;
  readonly packing?: Packing;
}

/** Sequences of a packed batch. */
export interface Packing {
  readonly count: number;
  /** Lengths of the longest sequence. */
  readonly queryLength: number;
  readonly keyLength: number;
  /** Cumulative query lengths, then cumulative key lengths. */
  readonly words: Uint32Array;
}

/** The effect of an option that is given. */
export interface Effect {
  /** Whether every kernel knows the option. Those for tensor cores know only few. Default false. */
  readonly isPlain?: boolean;
  /** Constants that differ from their defaults, in the parts that read the option. */
  readonly constants?: Constants;
  /** Small inputs, which are joined with those of other options in the binding `table`. */
  readonly segments?: readonly Segment[];
  /** Uniform fields by struct, given the words of `table` at which the segments begin. */
  readonly fields?: (at: readonly number[]) => Readonly<Record<string, UniformValues>>;
  /** Large inputs, by their bindings. */
  readonly bindings?: Readonly<Record<string, Tensor>>;
  /** Tensors that may be asked for a gradient, by their names on the tape. */
  readonly inputs?: Readonly<Record<string, Tensor>>;
  /** Why the call has no gradient. */
  readonly refusal?: string;
  readonly insertions?: readonly Insertion[];
  /** Further insertions, for the gradient's kernels only. */
  readonly derivatives?: readonly Insertion[];
  readonly band?: OptionFields['band'];
  readonly isPacked?: boolean;
  readonly maskBlock?: number;
}

interface OptionRecord {
  readonly names: readonly (keyof AttentionOptions)[];
  /** Its uniform fields if it is not given. */
  readonly absent: Readonly<Record<string, UniformValues>>;
  /** @throws ArgumentError for a value that does not fit */
  readonly resolve: (options: AttentionOptions, sizes: CallSizes) => Effect | undefined;
}

/** A bound of a band that no key exceeds, whatever the query's position. Query, offset and bound add up to less than 2³¹. */
export const UNBOUNDED = 2 ** 30 - 1;
export const MAX_LENGTH = 2 ** 29;
/** The band that leaves every key to every query. */
const ALL_KEYS = { left: UNBOUNDED, right: UNBOUNDED };
const MAX_QUERY_OFFSET = 2 ** 28;

// ---- checks that several share

type Numbers = readonly number[] | Float32Array | Int32Array | Uint32Array;

function isNumbers(values: unknown): values is Numbers {
  return (
    Array.isArray(values) ||
    values instanceof Float32Array ||
    values instanceof Int32Array ||
    values instanceof Uint32Array
  );
}

/** Finite numbers or `least`, one for each head, or a float32 tensor of one of the shapes. */
function headNumbers(
  name: string,
  values: unknown,
  shapes: readonly (readonly number[])[],
  { op, like }: CallSizes,
  least?: number,
): Segment {
  const expected = shapes.map(formatShape).join(' or ');
  if (isNumbers(values)) {
    const isValid = (value: number) => Number.isFinite(value) || value === least;
    if (values.length !== shapes[0][0] || !Array.from(values, Math.fround).every(isValid)) {
      throw new ArgumentError(
        `${op}: ${name} must be ${shapes[0][0]} finite numbers, one for each head, got ${describe(values)}`,
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

/** Whole numbers, one for each batch entry. */
function batchNumbers(
  name: string,
  values: unknown,
  [least, most]: readonly [number, number],
  dtypes: readonly string[],
  { op, batch, like }: CallSizes,
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
  const expected = `an ${dtypes.join(' or ')} tensor of [${batch}]`;
  if (!(values instanceof Tensor)) {
    throw new ArgumentError(`${op}: ${name} must be ${batch} whole numbers or ${expected}, got ${describe(values)}`);
  }
  checkTensor(op, name, values);
  checkSameDevice(op, like.name, like.tensor, name, values);
  if (!dtypes.includes(values.dtype) || values.rank !== 1 || values.shape[0] !== batch) {
    throw new ArgumentError(`${op}: ${name} must be ${expected}, got ${describe(values)}`);
  }
  return { tensor: values };
}

// ---- the records, in the order of the list

const MASK_KINDS: Readonly<Record<string, number>> = { bool: 1, float32: 2, float16: 3 };

const mask: OptionRecord = {
  names: ['mask'],
  absent: { visibility: { mask_kind: 0, mask_offset: 0, mask_strides: [0, 0, 0, 0] } },
  resolve({ mask: given }, sizes) {
    if (given === undefined) return undefined;
    const { op, like, batch, heads, queryLength, keyLength, isHeadless } = sizes;
    checkTensor(op, 'mask', given);
    checkSameDevice(op, like.name, like.tensor, 'mask', given);
    if (given.dtype !== 'bool' && given.dtype !== like.tensor.dtype) {
      throw new ArgumentError(
        `${op}: mask must be bool or have ${like.name}'s dtype ${like.tensor.dtype}, got ${given.dtype}`,
      );
    }
    const target = isHeadless ? [batch, queryLength, keyLength] : [batch, heads, queryLength, keyLength];
    if (!broadcastStrides(given.shape, given.strides, target)) {
      throw new ArgumentError(
        `${op}: mask must broadcast to the scores' shape ${formatShape(target)}, got ${formatShape(given.shape)}`,
      );
    }
    const tensor = isHeadless ? withHeads(given) : given;
    const strides = broadcastStrides(tensor.shape, tensor.strides, [batch, heads, queryLength, keyLength])!;
    const place = { mask_kind: MASK_KINDS[given.dtype], mask_offset: given.offset, mask_strides: strides };
    return {
      isPlain: true,
      fields: () => ({ visibility: place }),
      bindings: { mask: tensor },
      inputs: { mask: tensor },
    };
  },
};

const keyMask: OptionRecord = {
  names: ['keyMask'],
  absent: { visibility: { has_key_mask: 0, key_mask_offset: 0, key_mask_strides: [0, 0] } },
  resolve({ keyMask: given }, { op, like, batch, keyLength }) {
    if (given === undefined) return undefined;
    checkTensor(op, 'keyMask', given);
    checkSameDevice(op, like.name, like.tensor, 'keyMask', given);
    if (given.dtype !== 'bool') throw new ArgumentError(`${op}: keyMask must be bool, got ${given.dtype}`);
    const target = [batch, keyLength];
    const strides = given.rank === 2 ? broadcastStrides(given.shape, given.strides, target) : undefined;
    if (!strides) {
      throw new ArgumentError(
        `${op}: keyMask must have shape [batch, key length] = ${formatShape(target)}, got ${formatShape(given.shape)}`,
      );
    }
    const place = { has_key_mask: 1, key_mask_offset: given.offset, key_mask_strides: strides };
    return { isPlain: true, fields: () => ({ visibility: place }), bindings: { key_mask: given } };
  },
};

/** The queries' positions among the keys, and the band of keys that each sees. One record, because each moves the other. */
export const position: OptionRecord = {
  names: ['isCausal', 'window', 'queryOffset'],
  absent: {},
  resolve(options, sizes) {
    const { op } = sizes;
    const { queryOffset } = options;
    if (
      typeof queryOffset === 'number' &&
      !(Number.isInteger(queryOffset) && Math.abs(queryOffset) <= MAX_QUERY_OFFSET)
    ) {
      throw new ArgumentError(
        `${op}: queryOffset must be a whole number from ${-MAX_QUERY_OFFSET} to ${MAX_QUERY_OFFSET}, got ${queryOffset}`,
      );
    }
    const { left, right, first, alignsEnds = false } = checkBand(options, sizes);
    const segments =
      queryOffset === undefined || typeof queryOffset === 'number'
        ? []
        : [batchNumbers('queryOffset', queryOffset, [-MAX_QUERY_OFFSET, MAX_QUERY_OFFSET], ['int32'], sizes)];
    return {
      isPlain: segments.length === 0,
      band: { left, right },
      segments,
      fields: ([at = ABSENT]) => ({
        visibility: { band_left: left, band_right: right },
        sequences: { query_offset: first, aligns_ends: alignsEnds ? 1 : 0, query_offsets_at: at },
      }),
    };
  },
};

/** Query i is at position `first` + i and sees the keys [its position − left, its position + right]. */
interface Band {
  readonly left: number;
  readonly right: number;
  readonly first: number;
  /** With `first` = 0, the last query is at the last key. Otherwise the first query is at the first key. */
  readonly alignsEnds?: boolean;
}

/** The band that is the intersection of the causal mask and the window. */
function checkBand(options: AttentionOptions, { op, queryLength, keyLength, packing }: CallSizes): Band {
  const { isCausal = false, window, queryOffset, keyLengths } = options;
  if (typeof isCausal !== 'boolean' && isCausal !== 'top-left' && isCausal !== 'bottom-right') {
    throw new ArgumentError(
      `${op}: isCausal must be true, false, 'top-left' or 'bottom-right', got ${describe(isCausal)}`,
    );
  }
  const { left, right, align = isCausal === 'bottom-right' ? 'bottom-right' : 'top-left' } = checkWindow(op, window);
  if (queryOffset !== undefined) {
    const first = typeof queryOffset === 'number' ? queryOffset : 0;
    return { left, right: isCausal ? Math.min(right, 0) : right, first };
  }
  const isMixed = isCausal && window && (isCausal === 'bottom-right') !== (align === 'bottom-right');
  if (packing !== undefined || keyLengths !== undefined) {
    if (isMixed) {
      throw new ArgumentError(
        `${op}: window.align must be isCausal's '${isCausal === true ? 'top-left' : isCausal}' if lengths vary, got '${align}'`,
      );
    }
    return { left, right: isCausal ? Math.min(right, 0) : right, first: 0, alignsEnds: align === 'bottom-right' };
  }
  const offsetOf = (alignment: Alignment) => (alignment === 'bottom-right' ? keyLength - queryLength : 0);
  const offset = offsetOf(align);
  const causalRight = isMixed ? offsetOf(isCausal === true ? 'top-left' : isCausal) - offset : 0;
  return { left, right: isCausal ? Math.min(right, causalRight) : right, first: offset };
}

/** The window with real bounds in place of −1. */
function checkWindow(op: string, window: Window | undefined): Window {
  if (window === undefined) return ALL_KEYS;
  if (window === null || typeof window !== 'object' || Array.isArray(window)) {
    throw new ArgumentError(`${op}: window must be { left, right }, got ${describe(window)}`);
  }
  checkOptions(`${op}: window`, window, ['left', 'right', 'align']);
  for (const side of ['left', 'right'] as const) {
    const keys = window[side];
    if (!Number.isInteger(keys) || keys < -1 || keys > UNBOUNDED) {
      throw new ArgumentError(
        `${op}: window.${side} must be a whole number of keys, or -1 for unbounded, got ${describe(keys)}`,
      );
    }
  }
  const { align } = window;
  if (align !== undefined && align !== 'top-left' && align !== 'bottom-right') {
    throw new ArgumentError(`${op}: window.align must be 'top-left' or 'bottom-right', got ${describe(align)}`);
  }
  const bound = (keys: number) => (keys === -1 ? UNBOUNDED : keys);
  return { left: bound(window.left), right: bound(window.right), align };
}

const scale: OptionRecord = {
  names: ['scale'],
  absent: {},
  resolve({ scale: factor }, { op, headDim }) {
    if (factor !== undefined) checkFinite(op, 'scale', factor);
    return { isPlain: true, fields: () => ({ score: { scale: factor ?? 1 / Math.sqrt(headDim) } }) };
  },
};

const dropout: OptionRecord = {
  names: ['dropoutP', 'dropoutSeed'],
  absent: { dropout: dropoutFields(0, 0) },
  resolve({ dropoutP: p = 0, dropoutSeed }, { op, like }) {
    checkProbability(op, 'dropoutP', p);
    checkSeed(op, 'dropoutSeed', dropoutSeed);
    if (p === 0) return undefined;
    return {
      constants: { HAS_DROPOUT: true },
      // here, once all checks have passed, so that a call that is refused draws no seed
      fields: () => ({ dropout: dropoutFields(p, dropoutSeed ?? like.tensor.device.nextSeed()) }),
    };
  },
};

const returnLogSumExp: OptionRecord = {
  names: ['returnLogSumExp'],
  absent: {},
  resolve({ returnLogSumExp: isWanted }, { op }) {
    checkBoolean(op, 'returnLogSumExp', isWanted);
    return undefined;
  },
};

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

const alibiSlopes: OptionRecord = {
  names: ['alibiSlopes'],
  absent: { score: { slopes_at: ABSENT, slopes_pitch: 0 } },
  resolve({ alibiSlopes: slopes }, sizes) {
    if (slopes === undefined) return undefined;
    const { op, batch, heads } = sizes;
    const segment = headNumbers('alibiSlopes', slopes, [[heads], [batch, heads]], sizes);
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
  absent: { sinks: { at: ABSENT } },
  resolve({ sinks: logits }, sizes) {
    if (logits === undefined) return undefined;
    return {
      segments: [headNumbers('sinks', logits, [[sizes.heads]], sizes, -Infinity)],
      fields: ([at]) => ({ sinks: { at } }),
      ...(logits instanceof Tensor && { inputs: { sinks: logits } }),
    };
  },
};

const keyLengths: OptionRecord = {
  names: ['keyLengths'],
  absent: { sequences: { key_lengths_at: ABSENT } },
  resolve({ keyLengths: lengths }, sizes) {
    if (lengths === undefined) return undefined;
    const segment = batchNumbers('keyLengths', lengths, [0, sizes.keyLength], ['int32', 'uint32'], sizes);
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

/** Modifiers as kernels take them: the texts of their functions, and what those read. */
const modifiers: OptionRecord = {
  names: ['scoreMod', 'maskMod', 'blockMask'],
  absent: {
    captures: captureFields([], [], []),
    blocks: { at: 0, shift: 0, columns: 0, batch_pitch: 0, head_pitch: 0 },
  },
  resolve(options, sizes) {
    const { op, like } = sizes;
    const { scoreMod, maskMod, blockMask } = options;
    const whose = `${like.name}'s device`;
    if (scoreMod !== undefined) checkModifier(op, 'scoreMod', scoreMod, like.tensor.device, whose);
    if (maskMod !== undefined) checkModifier(op, 'maskMod', maskMod, like.tensor.device, whose);
    if (blockMask !== undefined) checkBlockMask(op, blockMask, like.tensor.device, whose, sizes);
    if (maskMod && blockMask) {
      throw new ArgumentError(`${op}: maskMod must not come with blockMask, which has its own, got both`);
    }
    const given = [scoreMod, blockMask?.maskMod ?? maskMod].filter((modifier) => modifier !== undefined);
    if (given.length === 0) return undefined;
    const { captures, fields, ...planned } = planModifiers(op, given);
    return {
      ...planned,
      constants: {
        ...(scoreMod && { MODIFIES_SCORES: true, HAS_SCORE_MOD: true }),
        ...((maskMod || blockMask) && { HAS_MASK_MOD: true }),
        ...(blockMask && { HAS_BLOCK_MASK: true }),
      },
      segments: [...captures, ...(blockMask ? [blockMask.kinds] : [])].map((tensor) => ({ tensor })),
      fields: (at) => ({
        captures: fields(at.slice(0, captures.length)),
        ...(blockMask && { blocks: blockFields(blockMask, at.at(-1)!) }),
      }),
      inputs: Object.fromEntries(captures.map((tensor, i) => [`capture${i}`, tensor])),
      refusal: refusalOf(op, scoreMod, captures),
      maskBlock: blockMask?.blockSize,
    };
  },
};

// ---- the list, and what a call's options amount to

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
    band: effects.find(({ band }) => band)?.band ?? ALL_KEYS,
    isPacked: effects.some(({ isPacked }) => isPacked),
    isPlain: effects.every(({ isPlain }) => isPlain),
    maskBlock: effects.find(({ maskBlock }) => maskBlock)?.maskBlock,
  };
}
