import { record } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { planAccumulate, planCopy, type CopyProblem } from '../kernels/elementwise.ts';
import { operandOf } from '../kernels/launch.ts';
import { BYTES, type DType, type FloatDType } from '../tensor/dtype.ts';
import { broadcastStrides, formatShape, reshapeStrides, storageSize, type Shape } from '../tensor/shape.ts';
import { inferShape, type Tensor } from '../tensor/tensor.ts';
import { checkAlike, checkFloat, checkTensor, describe } from './internal/check.ts';
import { sumTo } from './sum.ts';

/** x in row-major order without gaps: another handle on x if x is so already, else a copy. Any dtype. */
export function contiguous(x: Tensor): Tensor {
  checkTensor('contiguous', 'x', x);
  return x.isContiguous ? x.reshape(x.shape) : copy('contiguous', x, x.dtype, x.shape);
}

/** A row-major copy that shares nothing with x. Any dtype. */
export function clone(x: Tensor): Tensor {
  checkTensor('clone', 'x', x);
  return copy('clone', x, x.dtype, x.shape);
}

/**
 * x's elements, in row-major order, in another shape. One length may be −1. The result is a view if one exists
 * (`x.reshape`), else a copy.
 *
 * @throws ArgumentError if the sizes differ
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
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
export function cast(x: Tensor, dtype: FloatDType): Tensor {
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
export function concat(x: Tensor, y: Tensor, axis: number): Tensor {
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
  const output = run(op, { shape, outputShape: shape, joined }, x, x.dtype, y);
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

/** The logical not of a bool tensor, under the name of the op that needs it. */
export function invert(op: string, x: Tensor): Tensor {
  return run(op, { shape: x.shape, outputShape: x.shape, invert: true }, x, 'bool');
}

function copy(op: string, x: Tensor, dtype: DType, outputShape: Shape): Tensor {
  const output = run(op, { shape: x.shape, outputShape }, x, dtype);
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

function run(
  op: string,
  problem: Pick<CopyProblem, 'shape' | 'outputShape' | 'joined' | 'invert'>,
  x: Tensor,
  dtype: DType,
  y?: Tensor,
): Tensor {
  const { device } = x;
  const output = device.empty(problem.outputShape, dtype, op);
  const launch = planCopy({ op, ...problem, inDType: x.dtype, outDType: dtype, x: operandOf(x) }, device.traits);
  device.dispatch(op, launch, { x, y, output });
  return output;
}

/** What is copied where. */
type Copy = readonly [x: Tensor, target: Tensor];

/**
 * target ← x in place for each pair, as if all at once, converted to the target's float dtype. x has the target's shape and
 * device. The target is row-major from the start of its storage, as parameters and the state of optimisers are.
 */
export function copyInto(op: string, copies: readonly Copy[]): void {
  if (copies.length === 0) return;
  const targets = new Set(copies.map(([, target]) => target.storage(op)));
  const { device } = copies[0][1];
  device.scope(() => {
    // copy first what another pair will overwrite
    const apart = copies.map(([x, target]) => [targets.has(x.storage(op)) ? clone(x) : x, target] as const);
    for (const [x, target] of apart) {
      const { shape, dtype } = target;
      const launch = planCopy(
        { op, shape, outputShape: shape, inDType: x.dtype, outDType: dtype, x: operandOf(x) },
        device.traits,
      );
      device.dispatch(op, launch, { x, output: target });
      target.changed();
    }
  });
}

/** target += x in place, for the tape. Same shape, dtype and device. target is contiguous, or a slice of such a tensor. */
export function accumulate(target: Tensor, x: Tensor): void {
  const op = 'accumulate';
  const { device, shape } = target;
  const dtype = target.dtype as FloatDType;
  const launch = planAccumulate({ op, shape, dtype, target: operandOf(target), x: operandOf(x) }, device.traits);
  device.dispatch(op, launch, { x, target_words: target });
  target.changed();
}

/** Writes x's elements in row-major order to `target` from word `firstWord` on. f16 and bools are copied in whole words. */
export function copyWords(op: string, x: Tensor, target: Tensor, firstWord: number): void {
  const bytes = BYTES[x.dtype];
  // smaller elements are copied as whole words: x must be contiguous and begin at a word
  const words = bytes === 4 ? x.shape : [wordsOf(x)];
  const from = bytes === 4 ? operandOf(x) : { strides: [1], offset: (x.offset * bytes) / 4 };
  const launch = planCopy(
    { op, shape: words, outputShape: words, inDType: 'uint32', outDType: 'uint32', x: from, firstWord },
    x.device.traits,
  );
  x.device.dispatch(op, launch, { x, output: target });
}

/** Words of 32 bits that a row-major copy of x takes. */
export function wordsOf({ shape, dtype }: Tensor): number {
  return Math.ceil((storageSize(shape, dtype) * BYTES[dtype]) / 4);
}
