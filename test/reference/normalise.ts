import { type Float64HostArray, type HostArray, sizeOf, zeros } from './host-array.ts';

export interface NormaliseOptions {
  weight?: HostArray;
  bias?: HostArray;
  /** Default 1e-5. */
  eps?: number;
}

/** (x − m) / √(mean((x − m)²) + eps) · weight + bias over the last axes together, m the mean. x [..., axes...] → the same. */
export function layerNorm(x: HostArray, axes: readonly number[], options: NormaliseOptions = {}): Float64HostArray {
  return normalise(x, axes, options, true);
}

/** The same with m = 0. */
export function rmsNorm(x: HostArray, axes: readonly number[], options: NormaliseOptions = {}): Float64HostArray {
  return normalise(x, axes, options, false);
}

function normalise(
  x: HostArray,
  axes: readonly number[],
  { weight, bias, eps = 1e-5 }: NormaliseOptions,
  isCentred: boolean,
): Float64HostArray {
  const size = sizeOf(axes);
  const result = zeros(x.shape);
  for (let start = 0; start < result.data.length; start += size) {
    const row = Array.from({ length: size }, (_, i) => x.data[start + i]);
    const mean = isCentred ? row.reduce((sum, value) => sum + value, 0) / size : 0;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / size;
    row.forEach((value, i) => {
      const scaled = ((value - mean) / Math.sqrt(variance + eps)) * (weight?.data[i] ?? 1);
      result.data[start + i] = scaled + (bias?.data[i] ?? 0);
    });
  }
  return result;
}
