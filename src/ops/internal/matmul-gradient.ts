import { record } from '../../autograd/tape.ts';
import { depthSplits } from '../../kernels/matmul.ts';
import type { FloatDType } from '../../tensor/dtype.ts';
import { sizeOf, type Shape } from '../../tensor/shape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { contiguous, reshape } from '../copy.ts';
import { product } from './product.ts';
import { sumOver, sumTo } from '../sum.ts';

/** Which of the two operands of a product were transposed. */
interface Transposed {
  readonly a: boolean;
  readonly b: boolean;
}

/**
 * Records a product of a (which may be a single row, of one axis) and b, plus bias. With the gradient g of the result:
 *
 *     a: g Bᵀ      b: Aᵀ g      bias: the sum over rows of g
 *
 * For a transposed operand it computes the transpose, B gᵀ or gᵀ A, so that the gradient is row-major as the operand is.
 */
export function recordProduct(
  op: string,
  operands: { readonly a: Tensor; readonly b: Tensor; readonly bias?: Tensor },
  output: Tensor,
  transposed: Transposed,
): void {
  const { a, b, bias } = operands;
  const [aShape, bShape] = [a.shape, b.shape];
  record({
    op,
    inputs: { a, b, bias },
    outputs: [output],
    // each factor's gradient reads the other
    saved: { a: b.requiresGrad ? a : undefined, b: a.requiresGrad ? b : undefined },
    backward: ([gradient], saved, needs) => {
      const g = prepared(gradient!);
      return {
        a: needs.a ? gradientOfA(op, g, saved.b!, transposed, aShape) : undefined,
        b: needs.b ? gradientOfB(op, g, matrixOf(saved.a!), transposed, bShape) : undefined,
        bias: needs.bias ? sumTo(g, [g.shape.at(-1)!]) : undefined,
      };
    },
  });
}

function gradientOfA(op: string, g: Tensor, b: Tensor, transposed: Transposed, shape: Shape): Tensor {
  const right = transposed.b ? b : b.transpose();
  const batchShape = shape.slice(0, -2);
  const result = transposed.a
    ? summedProduct(op, right.transpose(), g.transpose(), batchShape)
    : summedProduct(op, g, right, batchShape);
  return result.reshape(shape);
}

function gradientOfB(op: string, g: Tensor, a: Tensor, transposed: Transposed, shape: Shape): Tensor {
  const left = transposed.a ? a : a.transpose();
  const batchShape = shape.slice(0, -2);
  return transposed.b
    ? summedProduct(op, g.transpose(), left.transpose(), batchShape)
    : summedProduct(op, left, g, batchShape);
}

/** Kernels handle three batch axes. Those of a result merge into three, but those of a strided gradient may not. */
function prepared(gradient: Tensor): Tensor {
  return gradient.rank > 5 ? contiguous(gradient) : matrixOf(gradient);
}

function matrixOf(x: Tensor): Tensor {
  return x.rank === 1 ? x.reshape([1, -1]) : x;
}

/**
 * a · b [batch…, M, N], summed over the batch axes that `batchShape` broadcasts. Those axes are merged into the depth of one
 * product, so that the terms of the sum are never stored. The gradient of a linear layer's weight, for example, is gᵀ x over
 * all rows of all batch entries. Operands whose strides do not allow this are copied.
 */
function summedProduct(op: string, a: Tensor, b: Tensor, batchShape: Shape): Tensor {
  const batchRank = Math.max(a.rank, b.rank) - 2;
  const wide = (shape: Shape) => [...Array.from({ length: batchRank + 2 - shape.length }, () => 1), ...shape];
  const [left, right] = [a.reshape(wide(a.shape)), b.reshape(wide(b.shape))];
  const target = wide([...batchShape, 1, 1]);
  const axes = Array.from({ length: batchRank }, (_, axis) => axis);
  const isSummed = (axis: number) => target[axis] === 1 && Math.max(left.shape[axis], right.shape[axis]) > 1;
  const [kept, summed] = [axes.filter((axis) => !isSummed(axis)), axes.filter(isSummed)];
  const [row, column] = [batchRank, batchRank + 1];
  const result = splitProduct(
    op,
    mergeRun(permute(left, [...kept, row, ...summed, column]), kept.length + 1, summed.length + 1),
    mergeRun(permute(right, [...kept, ...summed, row, column]), kept.length, summed.length + 1),
  );
  return result.reshape([...batchShape, left.shape[row], right.shape[column]]);
}

/** Divides a product of few rows and columns and great depth along the depth into parts, which are summed. */
function splitProduct(op: string, a: Tensor, b: Tensor): Tensor {
  const [rows, depth] = a.shape.slice(-2) as [number, number];
  const columns = b.shape.at(-1)!;
  const isBatch = Math.max(a.size / (rows * depth), b.size / (depth * columns)) > 1;
  const splits = isBatch ? 1 : depthSplits({ rows, columns, depth }, a.device.traits);
  if (splits === 1) return product(op, a, b);
  // views: dividing an axis needs no copy
  const left = a.reshape([rows, splits, depth / splits]).transpose(0, 1);
  const parts = product(op, left, b.reshape([splits, depth / splits, columns]), { outDType: 'float32' });
  return sumOver(op, parts, new Set([0]), { dtype: a.dtype as FloatDType });
}

/** Axes [start, start + count) as one. */
function mergeRun(x: Tensor, start: number, count: number): Tensor {
  const { shape } = x;
  const merged = sizeOf(shape.slice(start, start + count));
  return reshape(x, [...shape.slice(0, start), merged, ...shape.slice(start + count)]);
}

function permute(x: Tensor, order: readonly number[]): Tensor {
  const places = x.shape.map((_, axis) => axis);
  return order.reduce((view, from, axis) => {
    const at = places.indexOf(from);
    if (at === axis) return view;
    [places[axis], places[at]] = [places[at], places[axis]];
    return view.transpose(axis, at);
  }, x);
}
