/** Shapes and strides, as pure functions. Strides and offsets count elements; a broadcast axis has stride 0. */
import { ArgumentError, shorten } from '../gpu/errors.ts';
import type { DType } from './dtype.ts';

export type Shape = readonly number[];

export const MAX_RANK = 6;

export function sizeOf(shape: Shape): number {
  return shape.reduce((size, length) => size * length, 1);
}

/** `[2, 3, 64]` */
export function formatShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

/** @throws ArgumentError, naming the call, unless a tensor can have this shape */
export function checkShape(call: string, shape: Shape): void {
  const valid =
    Array.isArray(shape) &&
    shape.length >= 1 &&
    shape.length <= MAX_RANK &&
    shape.every((length) => Number.isSafeInteger(length) && length >= 1);
  if (!valid) {
    const got = Array.isArray(shape) ? formatShape(shape) : String(shape);
    throw new ArgumentError(`${call}: shape must be 1 to ${MAX_RANK} positive integers, got ${shorten(got)}`);
  }
}

/** The largest of the numbers, which may be too many for the arguments of Math.max. */
export function largestOf(numbers: readonly number[]): number {
  return numbers.reduce((largest, number) => Math.max(largest, number), -Infinity);
}

/** Elements between two rows of a fresh tensor: float16 rows are padded to an even length, so that they share no word. */
export function rowPitch(length: number, dtype: DType): number {
  return dtype === 'float16' ? length + (length & 1) : length;
}

/** Row-major strides of a fresh tensor. */
export function contiguousStrides(shape: Shape, dtype: DType): number[] {
  const strides: number[] = Array.from({ length: shape.length }, () => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    const inner = axis === shape.length - 2 ? rowPitch(shape[axis + 1], dtype) : shape[axis + 1] * strides[axis + 1];
    strides[axis] = inner;
  }
  return strides;
}

/** Elements that a fresh tensor's storage holds, padding included. */
export function storageSize(shape: Shape, dtype: DType): number {
  if (shape.length === 0) return 1;
  return sizeOf(shape.slice(0, -1)) * rowPitch(shape.at(-1)!, dtype);
}

/** One past the last element that a view reaches, counted from its offset. */
export function extent(shape: Shape, strides: readonly number[]): number {
  return shape.reduce((last, length, axis) => last + (length - 1) * strides[axis], 1);
}

/** NumPy's broadcast of shapes, or undefined if they do not fit. */
export function broadcastShapes(a: Shape, b: Shape): number[] | undefined {
  const rank = Math.max(a.length, b.length);
  const shape: number[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const x = a[axis - rank + a.length] ?? 1;
    const y = b[axis - rank + b.length] ?? 1;
    if (x !== y && x !== 1 && y !== 1) return undefined;
    shape.push(x === 1 ? y : x);
  }
  return shape;
}

/** Strides of a view broadcast to `target`, or undefined if the shapes do not fit. */
export function broadcastStrides(shape: Shape, strides: readonly number[], target: Shape): number[] | undefined {
  const lead = target.length - shape.length;
  if (lead < 0) return undefined;
  const result: number[] = [];
  for (let axis = 0; axis < target.length; axis++) {
    const length = axis < lead ? 1 : shape[axis - lead];
    if (length !== target[axis] && length !== 1) return undefined;
    result.push(length === 1 ? 0 : strides[axis - lead]);
  }
  return result;
}

/** Strides that show the same elements in `target`'s shape without a copy, or undefined if there are none. */
export function reshapeStrides(shape: Shape, strides: readonly number[], target: Shape): number[] | undefined {
  const oldAxes = shape.map((length, axis) => ({ length, stride: strides[axis] })).filter(({ length }) => length !== 1);
  const result: number[] = Array.from({ length: target.length }, () => 1);
  let old = 0;
  let axis = 0;
  while (axis < target.length) {
    if (target[axis] === 1) {
      axis++;
      continue;
    }
    // the smallest runs of old and new axes that hold the same number of elements
    let oldEnd = old;
    let newEnd = axis;
    let oldSize = oldAxes[oldEnd++]?.length ?? 1;
    let newSize = target[newEnd++];
    while (oldSize !== newSize) {
      if (newSize < oldSize) newSize *= target[newEnd++] ?? NaN;
      else oldSize *= oldAxes[oldEnd++]?.length ?? NaN;
      if (Number.isNaN(oldSize + newSize)) return undefined;
    }
    for (let i = old; i < oldEnd - 1; i++) {
      if (oldAxes[i].stride !== oldAxes[i + 1].length * oldAxes[i + 1].stride) return undefined;
    }
    let stride = oldAxes[oldEnd - 1].stride;
    for (let i = newEnd - 1; i >= axis; i--) {
      result[i] = stride;
      stride *= target[i];
    }
    old = oldEnd;
    axis = newEnd;
  }
  return result;
}

/** Merges neighbouring axes that act as one axis in each of `strides`, and drops axes of length 1. */
export function coalesce(
  shape: Shape,
  strides: readonly (readonly number[])[],
): { shape: number[]; strides: number[][] } {
  const merged: number[] = [];
  const mergedStrides: number[][] = strides.map(() => []);
  for (let axis = 0; axis < shape.length; axis++) {
    const length = shape[axis];
    if (length === 1) continue;
    const last = merged.length - 1;
    const even = last >= 0 && strides.every((s, i) => mergedStrides[i][last] === s[axis] * length);
    if (even) {
      merged[last] *= length;
      strides.forEach((s, i) => (mergedStrides[i][last] = s[axis]!));
    } else {
      merged.push(length);
      strides.forEach((s, i) => mergedStrides[i].push(s[axis]));
    }
  }
  return { shape: merged, strides: mergedStrides };
}
