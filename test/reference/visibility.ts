import { broadcast, type Float64HostArray, type HostArray, zeros } from './host-array.ts';

export type Alignment = 'top-left' | 'bottom-right';

/** Which keys a query may attend to, and what is added to its scores. */
export interface VisibilityOptions {
  /** Broadcasts to the scores' shape. Bool (Uint8Array): true = may attend. Numbers: added to the scaled scores, −∞ = may not attend. */
  mask?: HostArray;
  /** Bool [B, Nk]: true = may attend. */
  keyMask?: HostArray;
  /** `true` means `'top-left'`. */
  isCausal?: boolean | Alignment;
  /** Keys from i − left to i + right of query i, both included; −1 = unbounded. `align` defaults to that of isCausal, else top-left. */
  window?: { left: number; right: number; align?: Alignment };
}

/** A bool mask (true = may attend) as numbers to add, 0 and −∞; other masks as they are. */
export function additive({ shape, data }: HostArray): HostArray {
  return data instanceof Uint8Array
    ? { shape, data: Float64Array.from(data, (allowed) => (allowed ? 0 : -Infinity)) }
    : { shape, data };
}

/**
 * What to add to the score of each query and key; −∞ where the query may not attend to the key.
 *
 *     bias[b, h, i, j] = mask[b, h, i, j]   if j ≤ i + offset (causal), −left ≤ j − i − offset ≤ right (window), keyMask[b, j]
 *     offset = 0 (top-left), Nk − Nq (bottom-right)
 *
 * @param shape of the scores, [B, H, Nq, Nk]
 */
export function visibility(shape: readonly number[], options: VisibilityOptions): Float64HostArray {
  const { mask, keyMask, isCausal = false, window } = options;
  const [batches, heads, queries, keys] = shape;
  const bias = mask ? broadcast(additive(mask), shape) : zeros(shape);

  const causalAlign = isCausal === true ? 'top-left' : isCausal || undefined;
  const windowAlign = window?.align ?? causalAlign ?? 'top-left';
  const offset = (align: Alignment | undefined) => (align === 'bottom-right' ? keys - queries : 0);
  let at = 0;
  for (let b = 0; b < batches; b++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < queries; i++) {
        for (let j = 0; j < keys; j++, at++) {
          const ahead = j - i - offset(windowAlign);
          const hidden =
            (causalAlign && j > i + offset(causalAlign)) ||
            (window && window.left >= 0 && ahead < -window.left) ||
            (window && window.right >= 0 && ahead > window.right) ||
            (keyMask && !keyMask.data[b * keys + j]);
          if (hidden) bias.data[at] = -Infinity;
        }
      }
    }
  }
  return bias;
}
