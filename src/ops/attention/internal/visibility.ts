/** The options that say which keys a query attends to, checked and turned into what kernels take. */
import { ArgumentError } from '../../../gpu/errors.ts';
import { UNBOUNDED, type Band, type Visibility } from '../../../kernels/visibility.ts';
import { checkOptions } from '../../../tensor/options.ts';
import { broadcastStrides, formatShape } from '../../../tensor/shape.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { checkSameDevice, checkTensor, describe } from '../../internal/check.ts';

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

/** The score matrix that visibility is about, and the tensor whose device and dtype masks must match. */
interface Scores {
  readonly batch: number;
  readonly heads: number;
  readonly queryLength: number;
  readonly keyLength: number;
  /** Masks broadcast to the shape without the head axis. */
  readonly isHeadless: boolean;
  readonly like: { readonly name: string; readonly tensor: Tensor };
  /** The position of the first query, in place of an alignment; 0 where each batch entry has its own. */
  readonly queryOffset?: number;
  /** Batch entries have key lengths, or both lengths, of their own: the alignment is theirs. */
  readonly lengthsVary?: boolean;
}

export function checkVisibility(
  op: string,
  { mask, keyMask, isCausal = false, window }: VisibilityOptions & { window?: Window },
  scores: Scores,
): Visibility {
  const { batch, heads, queryLength, keyLength, isHeadless } = scores;
  const target = isHeadless ? [batch, queryLength, keyLength] : [batch, heads, queryLength, keyLength];
  const band = checkBand(op, isCausal, window, scores);
  return {
    band,
    mask: mask === undefined ? undefined : checkMask(op, mask, target, scores.like),
    keyMask: keyMask === undefined ? undefined : checkKeyMask(op, keyMask, [batch, keyLength], scores.like),
  };
}

function checkMask(op: string, mask: Tensor, target: number[], like: Scores['like']): Visibility['mask'] {
  checkTensor(op, 'mask', mask);
  checkSameDevice(op, like.name, like.tensor, 'mask', mask);
  if (mask.dtype !== 'bool' && mask.dtype !== like.tensor.dtype) {
    throw new ArgumentError(
      `${op}: mask must be bool or have ${like.name}'s dtype ${like.tensor.dtype}, got ${mask.dtype}`,
    );
  }
  const strides = broadcastStrides(mask.shape, mask.strides, target);
  if (!strides) {
    throw new ArgumentError(
      `${op}: mask must broadcast to the scores' shape ${formatShape(target)}, got ${formatShape(mask.shape)}`,
    );
  }
  if (strides.length === 3) strides.splice(1, 0, 0);
  return {
    dtype: mask.dtype,
    strides: [...Array.from({ length: 4 - strides.length }, () => 0), ...strides],
    offset: mask.offset,
  };
}

function checkKeyMask(op: string, keyMask: Tensor, target: number[], like: Scores['like']): Visibility['keyMask'] {
  checkTensor(op, 'keyMask', keyMask);
  checkSameDevice(op, like.name, like.tensor, 'keyMask', keyMask);
  if (keyMask.dtype !== 'bool') throw new ArgumentError(`${op}: keyMask must be bool, got ${keyMask.dtype}`);
  const strides = keyMask.rank === 2 ? broadcastStrides(keyMask.shape, keyMask.strides, target) : undefined;
  if (!strides) {
    throw new ArgumentError(
      `${op}: keyMask must have shape [batch, key length] = ${formatShape(target)}, got ${formatShape(keyMask.shape)}`,
    );
  }
  return { strides, offset: keyMask.offset };
}

/** One band that is the causal mask's and the window's intersection. */
function checkBand(op: string, isCausal: Causal, window: Window | undefined, scores: Scores): Band {
  if (typeof isCausal !== 'boolean' && isCausal !== 'top-left' && isCausal !== 'bottom-right') {
    throw new ArgumentError(
      `${op}: isCausal must be true, false, 'top-left' or 'bottom-right', got ${describe(isCausal)}`,
    );
  }
  const { left, right, align = isCausal === 'bottom-right' ? 'bottom-right' : 'top-left' } = checkWindow(op, window);
  const { queryOffset, lengthsVary = false, keyLength, queryLength } = scores;
  if (queryOffset !== undefined) return { left, right: isCausal ? Math.min(right, 0) : right, queryOffset };
  const isMixed = isCausal && window && (isCausal === 'bottom-right') !== (align === 'bottom-right');
  if (lengthsVary) {
    if (isMixed) {
      throw new ArgumentError(
        `${op}: window.align must be isCausal's '${isCausal === true ? 'top-left' : isCausal}' where lengths vary, got '${align}'`,
      );
    }
    return { left, right: isCausal ? Math.min(right, 0) : right, queryOffset: 0, alignsEnds: align === 'bottom-right' };
  }
  const offsetOf = (alignment: Alignment) => (alignment === 'bottom-right' ? keyLength - queryLength : 0);
  const offset = offsetOf(align);
  const causalRight = isMixed ? offsetOf(isCausal === true ? 'top-left' : isCausal) - offset : 0;
  return { left, right: isCausal ? Math.min(right, causalRight) : right, queryOffset: offset };
}

/** With bounds in place of −1. */
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
