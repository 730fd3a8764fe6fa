/**
 * Softmax over the last axis, in float64.
 *
 *     out[…, i, j] = exp(s[…, i, j]) / Σ_j exp(s[…, i, j])      s = scale · x + mask
 *
 * x [..., N, M] → [..., N, M]. The mask broadcasts to x: bool, true = keep; or numbers that are added. Elements that are masked
 * (false, −∞, or above the diagonal with isCausal) are not read and give 0; a row with nothing else is 0.
 */
import { broadcast, type Float64HostArray, type HostArray, sumTo, zeros } from './host-array.ts';
import { additive, type VisibilityOptions } from './visibility.ts';

export interface SoftmaxOptions extends Pick<VisibilityOptions, 'mask' | 'isCausal'> {
  /** Default 1. */
  scale?: number;
}

export function softmax(x: HostArray, options: SoftmaxOptions = {}): Float64HostArray {
  const { scale = 1, mask, isCausal = false } = options;
  const rows = x.shape.at(-2) ?? 1;
  const columns = x.shape[x.shape.length - 1];
  const offset = isCausal === 'bottom-right' ? columns - rows : 0;
  const added = mask ? broadcast(additive(mask), x.shape).data : zeros(x.shape).data;
  const result = zeros(x.shape);
  for (let row = 0; row * columns < x.data.length; row++) {
    const visible = Array.from({ length: columns }, (_, j) => j)
      .filter((j) => !isCausal || j <= (row % rows) + offset)
      .map((j) => row * columns + j)
      .filter((at) => added[at] !== -Infinity);
    const score = (at: number) => scale * x.data[at] + added[at];
    const max = visible.reduce((largest, at) => Math.max(largest, score(at)), -Infinity);
    const sum = visible.reduce((total, at) => total + Math.exp(score(at) - max), 0);
    for (const at of visible) result.data[at] = Math.exp(score(at) - max) / sum;
  }
  return result;
}

/**
 * The gradient of Σ dOutput ∘ out.
 *
 *     ds = out · (dOutput − Σ_j out · dOutput)        dx = scale · ds        dMask = ds, summed to the mask's shape
 */
export function softmaxGradient(
  x: HostArray,
  dOutput: HostArray,
  options: SoftmaxOptions = {},
): { x: Float64HostArray; mask?: Float64HostArray } {
  const { scale = 1, mask } = options;
  const columns = x.shape[x.shape.length - 1];
  const weights = softmax(x, options).data;
  const dScores = zeros(x.shape);
  for (let start = 0; start < weights.length; start += columns) {
    const seen = Array.from({ length: columns }, (_, j) => start + j).filter((at) => weights[at] !== 0);
    const sum = seen.reduce((total, at) => total + weights[at] * dOutput.data[at], 0);
    for (const at of seen) dScores.data[at] = weights[at] * (dOutput.data[at] - sum);
  }
  return {
    x: { shape: x.shape, data: dScores.data.map((value) => scale * value) },
    ...(mask && !(mask.data instanceof Uint8Array) && { mask: sumTo(dScores, mask.shape) }),
  };
}
