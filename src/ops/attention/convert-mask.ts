/**
 * Masks of other conventions. This library's bool masks are true where a query may attend, as in PyTorch's
 * scaled_dot_product_attention, ONNX and FlexAttention. The masks converted here are true where it may not.
 */
import { ArgumentError } from '../../gpu/errors.ts';
import { formatShape } from '../../tensor/shape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { checkPositive, checkTensor, describe } from '../internal/check.ts';
import { invert } from '../internal/copy.ts';

/**
 * `attn_mask` of torch.nn.MultiheadAttention: [Nq, Nk], or [B·H, Nq, Nk] which becomes [B, H, Nq, Nk]. bool: true =
 * blocked, inverted; float: added to the scores, kept as it is.
 */
export function maskFromTorch(attnMask: Tensor, numHeads: number): Tensor {
  const op = 'maskFromTorch';
  checkTensor(op, 'attnMask', attnMask);
  const { rank, shape, dtype } = attnMask;
  if (rank !== 2 && rank !== 3) {
    throw new ArgumentError(`${op}: attnMask must be [Nq, Nk] or [B·H, Nq, Nk], got ${formatShape(shape)}`);
  }
  if (dtype !== 'bool' && dtype !== 'float32' && dtype !== 'float16') {
    throw new ArgumentError(`${op}: attnMask must be bool, float32 or float16, got ${dtype}`);
  }
  checkPositive(op, 'numHeads', numHeads);
  if (rank === 3 && shape[0] % numHeads !== 0) {
    throw new ArgumentError(
      `${op}: numHeads must divide attnMask's first axis of ${shape[0]}, got ${describe(numHeads)}`,
    );
  }
  return attnMask.device.scope(() => {
    const mask = dtype === 'bool' ? invert(op, attnMask) : attnMask.reshape(shape);
    return rank === 2 ? mask : mask.reshape([shape[0] / numHeads, numHeads, shape[1], shape[2]]);
  });
}

/** `key_padding_mask` of torch.nn.MultiheadAttention: bool [B, Nk], true = padding, inverted. */
export function keyMaskFromTorch(keyPaddingMask: Tensor): Tensor<'bool'> {
  const op = 'keyMaskFromTorch';
  checkTensor(op, 'keyPaddingMask', keyPaddingMask);
  if (keyPaddingMask.dtype !== 'bool' || keyPaddingMask.rank !== 2) {
    throw new ArgumentError(`${op}: keyPaddingMask must be bool [B, Nk], got ${describe(keyPaddingMask)}`);
  }
  return invert(op, keyPaddingMask);
}

/** A bool mask of any shape that is true where a query may not attend, inverted. */
export function maskFromBlocked(blocked: Tensor): Tensor<'bool'> {
  const op = 'maskFromBlocked';
  checkTensor(op, 'blocked', blocked);
  if (blocked.dtype !== 'bool') throw new ArgumentError(`${op}: blocked must be bool, got ${blocked.dtype}`);
  return invert(op, blocked);
}
