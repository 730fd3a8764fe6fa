import { record } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { planSum } from '../kernels/reduce.ts';
import { operandOf } from '../kernels/launch.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape, type Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkBoolean, checkFloat, describe } from './internal/check.ts';

export interface SumOptions {
  /** Negative ones count from the end; default all. */
  axes?: number | readonly number[];
  /** Leave summed axes with length 1. Default false. */
  keepDims?: boolean;
}

/**
 * Sum over axes, as torch.sum; sums are float32. Over all axes, it has the shape [1].
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's dtype, row-major
 * @throws ArgumentError for a dtype, axes or options that do not fit
 */
export function sum(x: Tensor, options: SumOptions = {}): FloatTensor {
  return reduce('sum', x, options, () => 1);
}

/**
 * Mean over axes, as torch.mean; sums are float32. Over all axes, it has the shape [1].
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's dtype, row-major
 * @throws ArgumentError for a dtype, axes or options that do not fit
 */
export function mean(x: Tensor, options: SumOptions = {}): FloatTensor {
  return reduce('mean', x, options, (terms) => 1 / terms);
}

/** The sum over the axes along which `shape` was broadcast to x's shape. This is the gradient of broadcasting. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  const lead = x.rank - shape.length;
  const axes = new Set(x.shape.flatMap((length, i) => (i < lead || shape[i - lead] !== length ? [i] : [])));
  if (axes.size === 0) return x;
  return sumOver('sum', x, axes, { keepDims: true }).reshape(shape);
}

function reduce(op: 'sum' | 'mean', x: Tensor, options: SumOptions, scaleOf: (terms: number) => number): FloatTensor {
  checkOptions(op, options, ['axes', 'keepDims']);
  checkFloat(op, 'x', x);
  checkBoolean(op, 'keepDims', options.keepDims);
  const axes = checkAxes(op, x, options.axes);
  const wide = x.shape.map((length, axis) => (axes.has(axis) ? 1 : length));
  const terms = x.size / wide.reduce((size, length) => size * length, 1);
  const scale = scaleOf(terms);
  const { shape: xShape } = x;
  const output = sumOver(op, x, axes, { scale, keepDims: options.keepDims ?? false });
  record({
    op,
    inputs: { x },
    outputs: [output],
    backward: ([gradient]) => {
      const dense = gradient!.reshape(wide); // a view: axes of length 1 come and go
      return { x: (scale === 1 ? dense : sumOver(op, dense, new Set(), { scale })).expand(xShape) };
    },
  });
  return output;
}

function checkAxes(op: string, x: Tensor, axes: SumOptions['axes']): Set<number> {
  if (axes === undefined) return new Set(x.shape.keys());
  const given: unknown = typeof axes === 'number' ? [axes] : axes;
  if (Array.isArray(given)) {
    const places = (given as number[]).map((axis) => (axis < 0 ? axis + x.rank : axis));
    const isDistinct = new Set(places).size === places.length;
    if (isDistinct && places.every((axis) => Number.isInteger(axis) && axis >= 0 && axis < x.rank)) {
      return new Set(places);
    }
  }
  throw new ArgumentError(`${op}: axes must be distinct axes of x ${formatShape(x.shape)}, got ${describe(axes)}`);
}

/** The sum over axes, row-major, in another dtype if one is given. Sums are float32. */
export function sumOver(
  op: string,
  x: Tensor,
  axes: ReadonlySet<number>,
  { scale = 1, dtype = x.dtype as FloatDType, keepDims = false } = {},
): FloatTensor {
  const wide = x.shape.map((length, axis) => (axes.has(axis) ? 1 : length));
  const narrow = x.shape.filter((_, axis) => !axes.has(axis));
  const output = x.device.empty(keepDims ? wide : narrow.length > 0 ? narrow : [1], dtype, op);
  const strides = keepDims
    ? output.strides.filter((_, axis) => !axes.has(axis))
    : output.strides.slice(0, narrow.length);
  write(op, x, axes, scale, output, strides);
  return output;
}

/** `strides` are the output's along the axes that stay. */
function write(
  op: string,
  x: Tensor,
  axes: ReadonlySet<number>,
  scale: number,
  output: Tensor,
  strides: readonly number[],
): void {
  const { device } = x;
  // an axis that repeats its elements is a factor: a view may hold more of them than a kernel could count
  const repeats = (axis: number) => axes.has(axis) && x.strides[axis] === 0;
  const shape = x.shape.map((length, axis) => (repeats(axis) ? 1 : length));
  scale = x.shape.reduce((product, length, axis) => (repeats(axis) ? product * length : product), scale);
  const [inDType, outDType] = [x.dtype as FloatDType, output.dtype as FloatDType];
  const plan = planSum({ op, shape, inDType, outDType, x: operandOf(x), axes, strides, scale }, device.traits);
  if (plan.splits === 1) {
    device.dispatch(op, plan, { x, output });
    return;
  }
  device.scope(() => {
    const kept = shape.filter((_, axis) => !axes.has(axis));
    const parts = device.empty([plan.splits, ...kept], 'float32', op);
    device.dispatch(op, plan, { x, output: parts });
    write(op, parts, new Set([0]), scale, output, strides);
  });
}
