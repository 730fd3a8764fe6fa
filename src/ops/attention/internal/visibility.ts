/** The options that say which keys a query attends to. */
import { ArgumentError } from '../../../gpu/errors.ts';
import { checkOptions } from '../../../tensor/options.ts';
import { broadcastStrides, formatShape } from '../../../tensor/shape.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { checkSameDevice, checkTensor, describe } from '../../internal/check.ts';
import { ABSENT, checkIntegers, type CallSizes, type OptionRecord } from './option-record.ts';
import type { AttentionOptions } from './options.ts';

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
   * bool: true = may attend; float (of the query's dtype): added to the scaled scores. Broadcasts to [B, H, Nq, Nk]
   * by NumPy's rules, with 3-D tensors to [B, Nq, Nk].
   */
  mask?: Tensor;
  /** bool [B, Nk], true = may attend. */
  keyMask?: Tensor;
  isCausal?: Causal;
}

/** A bound of a band that no key exceeds, whatever the query's position. Query, offset and bound add up to less than 2³¹. */
export const UNBOUNDED = 2 ** 30 - 1;
export const MAX_LENGTH = 2 ** 29;
const MAX_QUERY_OFFSET = 2 ** 28;

const MASK_KINDS: Readonly<Record<string, number>> = { bool: 1, float32: 2, float16: 3 };

export const mask: OptionRecord = {
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
    return { fields: () => ({ visibility: place }), bindings: { mask: tensor }, inputs: { mask: tensor } };
  },
};

/** A tensor of three axes with an axis of heads of length 1 after the first. Any other tensor is returned as it is. */
export function withHeads(tensor: Tensor): Tensor {
  const { shape } = tensor;
  return shape.length === 3 ? tensor.reshape([shape[0], 1, shape[1], shape[2]]) : tensor;
}

export const keyMask: OptionRecord = {
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
    return { fields: () => ({ visibility: place }), bindings: { key_mask: given } };
  },
};

/** The queries' positions among the keys, and the band of keys that each sees. One record, because each moves the other. */
export const position: OptionRecord = {
  names: ['isCausal', 'window', 'queryOffset'],
  absent: { sequences: { query_offsets_at: ABSENT } },
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
        : [checkIntegers('queryOffset', queryOffset, [-MAX_QUERY_OFFSET, MAX_QUERY_OFFSET], ['int32'], sizes)];
    return {
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
  if (window === undefined) return { left: UNBOUNDED, right: UNBOUNDED };
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
