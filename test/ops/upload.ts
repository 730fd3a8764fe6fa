/** Host arrays as tensors, in any memory layout that views can show. */
import { f16round } from '@petamoriken/float16';
import type { Device, Tensor } from '../../src/index.ts';
import { type HostArray, sizeOf } from '../reference/host-array.ts';

export type Float = 'float32' | 'float16';

export interface Layout {
  /** Order of the axes in memory, outermost first; default row-major. */
  readonly axes?: readonly number[];
  /** Elements of a larger tensor around the view, along each axis: NaN (in a bool tensor true), which nothing may read. */
  readonly before?: readonly number[];
  readonly after?: readonly number[];
}

/** The array as the dtype stores it: what a reference has to be given. */
export function stored({ shape, data }: HostArray, dtype: Float): HostArray {
  const keep = dtype === 'float32' || data instanceof Uint8Array;
  return { shape, data: keep ? data : Float32Array.from(data, f16round) };
}

/** A tensor of the array's elements: bool for a Uint8Array, else of the float dtype. Call it in a scope: it makes views. */
export function upload(device: Device, { shape, data }: HostArray, dtype: Float, layout: Layout = {}): Tensor {
  const isBool = data instanceof Uint8Array;
  const { axes = shape.map((_, axis) => axis), before = [], after = [] } = layout;
  const around = shape.map((length, axis) => (before[axis] ?? 0) + length + (after[axis] ?? 0));
  const storedShape = axes.map((axis) => around[axis]);
  const strides = shape.map((_, axis) => sizeOf(storedShape.slice(axes.indexOf(axis) + 1)));
  const size = sizeOf(storedShape);
  const values = isBool ? new Uint8Array(size).fill(1) : new Float32Array(size).fill(NaN);
  for (let flat = 0; flat < data.length; flat++) {
    let rest = flat;
    let at = 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += ((rest % shape[axis]) + (before[axis] ?? 0)) * strides[axis];
      rest = Math.floor(rest / shape[axis]);
    }
    values[at] = data[flat];
  }
  let tensor = device.tensor(values, storedShape, { dtype: isBool ? 'bool' : dtype });
  const order = [...axes];
  for (let axis = 0; axis < order.length; axis++) {
    const from = order.indexOf(axis);
    if (from === axis) continue;
    tensor = tensor.transpose(axis, from);
    [order[axis], order[from]] = [order[from], order[axis]];
  }
  for (let axis = 0; axis < shape.length; axis++) {
    const start = before[axis] ?? 0;
    if (around[axis] !== shape[axis]) tensor = tensor.slice(axis, start, start + shape[axis]);
  }
  return tensor;
}
