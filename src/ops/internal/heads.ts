/** The axis of heads: tensors that have none, and memory in which heads lie inside rows. */
import type { Tensor, View } from '../../tensor/tensor.ts';

/** A tensor of three axes with an axis of heads of length 1 after the first. Any other tensor is returned as it is. */
export function withHeads(tensor: Tensor): Tensor {
  const { shape } = tensor;
  return shape.length === 3 ? tensor.reshape([shape[0], 1, shape[1], shape[2]]) : tensor;
}

/** The place of such a tensor as one of four axes. */
export function viewWithHeads({ shape, strides, offset }: View): View {
  if (shape.length !== 3) return { shape, strides, offset };
  return { shape: shape.toSpliced(1, 0, 1), strides: strides.toSpliced(1, 0, 0), offset };
}

/** Results of four or three axes without the axis of heads, whose length is 1. */
export function withoutHeads<R extends Readonly<Record<string, Tensor | undefined>>>(results: R): R {
  const entries = Object.entries(results).map(([name, tensor]) => [
    name,
    tensor?.reshape(tensor.shape.toSpliced(1, 1)),
  ]);
  return Object.fromEntries(entries) as R;
}

/** Axes of a 4-D tensor in the order of memory, if its heads lie inside its rows. */
export const HEADS_IN_ROWS = [0, 2, 1, 3];

/** Whether the heads lie inside the rows, as they do after splitting a projection. */
export function hasHeadsInRows({ shape, strides }: Tensor): boolean {
  const [, heads, rows] = shape;
  return shape.length === 4 && heads > 1 && rows > 1 && strides[1] < strides[2];
}

/** The order of axes in memory for a new tensor with the same layout as `tensor`, or undefined for row-major. */
export function axesLike(tensor: Tensor): readonly number[] | undefined {
  return hasHeadsInRows(tensor) ? HEADS_IN_ROWS : undefined;
}
