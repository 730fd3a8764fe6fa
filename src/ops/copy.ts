import { record } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import type { DType, FloatDType } from '../tensor/dtype.ts';
import { broadcastStrides, formatShape, reshapeStrides, type Shape } from '../tensor/shape.ts';
import { inferShape, type Tensor, type FloatTensor } from '../tensor/tensor.ts';
import { checkAlike, checkFloat, checkTensor, describe } from './internal/check.ts';
import { copied } from './internal/copy.ts';
import { sumTo } from './sum.ts';

/** x in row-major order without gaps: another handle on x if x is so already, else a copy. Any dtype. */
export function contiguous<D extends DType>(x: Tensor<D>): Tensor<D> {
  checkTensor('contiguous', 'x', x);
  return x.isContiguous ? x.reshape(x.shape) : copy('contiguous', x, x.dtype, x.shape);
}

/** A row-major copy that shares nothing with x. Any dtype. */
export function clone<D extends DType>(x: Tensor<D>): Tensor<D> {
  checkTensor('clone', 'x', x);
  return copy('clone', x, x.dtype, x.shape);
}

/**
 * x's elements, in row-major order, in another shape. One length may be −1. The result is a view if one exists
 * (`x.reshape`), else a copy.
 *
 * @throws ArgumentError if the sizes differ
 */
export function reshape<D extends DType>(x: Tensor<D>, shape: Shape): Tensor<D> {
  checkTensor('reshape', 'x', x);
  const target = inferShape(x, shape);
  if (reshapeStrides(x.shape, x.strides, target)) return x.reshape(target);
  return copy('reshape', x, x.dtype, target);
}

/**
 * x converted between float32 and float16, rounded to nearest even. Another handle on x if it has the dtype already.
 *
 * @throws ArgumentError for a dtype that is not a float
 */
export function cast(x: Tensor, dtype: FloatDType): FloatTensor {
  checkFloat('cast', 'x', x);
  if (dtype !== 'float32' && dtype !== 'float16') {
    throw new ArgumentError(`cast: dtype must be float32 or float16, got ${describe(dtype)}`);
  }
  return x.dtype === dtype ? x.reshape(x.shape) : copy('cast', x, dtype, x.shape);
}

/**
 * Two tensors of any one dtype joined along an axis, as torch.cat. The second broadcasts along the other axes.
 *
 * @param x for example [B, N, E]
 * @param y [B, M, E] for axis 1 (or [1, M, E], …)
 * @returns [B, N + M, E]
 * @throws ArgumentError for shapes, dtypes or an axis that do not fit
 */
export function concat<D extends DType>(x: Tensor<D>, y: Tensor<D>, axis: number): Tensor<D> {
  const op = 'concat';
  checkTensor(op, 'x', x);
  checkTensor(op, 'y', y);
  checkAlike(op, 'x', { x, y });
  const at = axis < 0 ? axis + x.rank : axis;
  if (!Number.isInteger(axis) || at < 0 || at >= x.rank) {
    throw new ArgumentError(`${op}: axis must be an axis of x ${formatShape(x.shape)}, got ${describe(axis)}`);
  }
  const added = y.shape[at];
  const strides = y.rank === x.rank ? broadcastStrides(y.shape, y.strides, x.shape.with(at, added)) : undefined;
  if (!strides) {
    throw new ArgumentError(
      `${op}: y must have x's shape ${formatShape(x.shape)} except along axis ${axis}, got ${formatShape(y.shape)}`,
    );
  }
  const split = x.shape[at];
  const shape = x.shape.with(at, split + added);
  const joined = { y: { strides, offset: y.offset }, axis: at, split };
  const output = copied(op, { shape, outputShape: shape, joined }, x, x.dtype, y);
  const yShape = y.shape;
  record({
    op,
    inputs: { x, y },
    outputs: [output],
    backward: ([gradient], _saved, needs) => ({
      x: needs.x ? gradient!.slice(at, 0, split) : undefined,
      y: needs.y ? sumTo(gradient!.slice(at, split), yShape) : undefined,
    }),
  });
  return output;
}

function copy<D extends DType>(op: string, x: Tensor, dtype: D, outputShape: Shape): Tensor<D> {
  const output = copied(op, { shape: x.shape, outputShape }, x, dtype);
  const { shape, dtype: xDType } = x;
  record({
    op,
    inputs: { x },
    outputs: [output],
    // x is a float tensor, because others require no gradient
    backward: ([gradient]) => ({ x: cast(reshape(gradient!, shape), xDType as FloatDType) }),
  });
  return output;
}
