import { type Float64HostArray, type HostArray, zeros } from './host-array.ts';

/** Sums over axes in float64; those axes stay with length 1 where `keepDims`. No axes left: [1]. */
export function sum({ shape, data }: HostArray, axes: readonly number[], { keepDims = false } = {}): Float64HostArray {
  const wide = shape.map((length, axis) => (axes.includes(axis) ? 1 : length));
  const narrow = shape.filter((_, axis) => !axes.includes(axis));
  const result = zeros(keepDims ? wide : narrow.length > 0 ? narrow : [1]);
  for (let flat = 0; flat < data.length; flat++) {
    let rest = flat;
    let [at, stride] = [0, 1];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (!axes.includes(axis)) {
        at += (rest % shape[axis]) * stride;
        stride *= shape[axis];
      }
      rest = Math.floor(rest / shape[axis]);
    }
    result.data[at] += data[flat];
  }
  return result;
}

/** Means in the same way. */
export function mean(x: HostArray, axes: readonly number[], options: { keepDims?: boolean } = {}): Float64HostArray {
  const terms = axes.reduce((product, axis) => product * x.shape[axis], 1);
  const { shape, data } = sum(x, axes, options);
  return { shape, data: data.map((value) => value / terms) };
}
