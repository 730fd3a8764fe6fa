import { broadcast, type Float64HostArray, type HostArray, zeros } from './host-array.ts';

export type Alignment = 'top-left' | 'bottom-right';

/** Which keys a query may attend to, and what is added to its scores. */
export interface VisibilityOptions {
  /** Broadcasts to the scores' shape. Bool (Uint8Array): true = may attend. Numbers: added to the scores, −∞ = may not attend. */
  mask?: HostArray;
  /** Bool [B, Nk]: true = may attend. */
  keyMask?: HostArray;
  /** `true` means `'top-left'`. */
  isCausal?: boolean | Alignment;
  /** Keys from i − left to i + right of query i, both included; −1 = unbounded. `align` defaults to that of isCausal, else top-left. */
  window?: { left: number; right: number; align?: Alignment };
  /** Position of query 0 among the keys, for all batch entries or for each; replaces every alignment. */
  queryOffset?: number | readonly number[];
  /** How many keys each batch entry has; 'bottom-right' aligns to the last of them. */
  keyLengths?: readonly number[];
  /** True where the query may attend to the key. */
  maskMod?: (batch: number, head: number, query: number, key: number) => boolean;
}

/** A bool mask (true = may attend) as numbers to add, 0 and −∞; other masks as they are. */
export function additive({ shape, data }: HostArray): HostArray {
  return data instanceof Uint8Array
    ? { shape, data: Float64Array.from(data, (allowed) => (allowed ? 0 : -Infinity)) }
    : { shape, data };
}

/**
 * The position of query 0 of a batch entry among its keys: queryOffset[b], else 0 (top-left) or its number of keys − Nq (bottom-right).
 *
 * @param shape of the scores, [B, H, Nq, Nk]
 */
export function firstPosition(
  [, , queries, keys]: readonly number[],
  batch: number,
  align: Alignment | undefined,
  { queryOffset, keyLengths }: VisibilityOptions,
): number {
  if (queryOffset !== undefined) return typeof queryOffset === 'number' ? queryOffset : queryOffset[batch];
  return align === 'bottom-right' ? (keyLengths?.[batch] ?? keys) - queries : 0;
}

/** The alignments that causality and the window count from; the window's, which is causality's by default, is that of positions. */
export function alignments({ isCausal = false, window }: VisibilityOptions): {
  causal?: Alignment;
  window: Alignment;
} {
  const causal = isCausal === true ? 'top-left' : isCausal || undefined;
  return { causal, window: window?.align ?? causal ?? 'top-left' };
}

/**
 * What to add to the score of each query and key; −∞ where the query may not attend to the key.
 *
 *     bias[b, h, i, j] = mask[b, h, i, j]   if j ≤ i + offset (causal), −left ≤ j − i − offset ≤ right (window), keyMask[b, j],
 *                                              j < keyLengths[b], maskMod(b, h, i, j)
 *     offset = queryOffset[b], else 0 (top-left), keyLengths[b] − Nq (bottom-right)
 *
 * @param shape of the scores, [B, H, Nq, Nk]
 */
export function visibility(shape: readonly number[], options: VisibilityOptions): Float64HostArray {
  const { mask, keyMask, window, keyLengths, maskMod } = options;
  const [batches, heads, queries, keys] = shape;
  const bias = mask ? broadcast(additive(mask), shape) : zeros(shape);
  const align = alignments(options);
  let at = 0;
  for (let b = 0; b < batches; b++) {
    const causalFrom = align.causal && firstPosition(shape, b, align.causal, options);
    const windowFrom = firstPosition(shape, b, align.window, options);
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < queries; i++) {
        for (let j = 0; j < keys; j++, at++) {
          const ahead = j - i - windowFrom;
          const hidden =
            (causalFrom !== undefined && j > i + causalFrom) ||
            (window && window.left >= 0 && ahead < -window.left) ||
            (window && window.right >= 0 && ahead > window.right) ||
            (keyMask && !keyMask.data[b * keys + j]) ||
            (keyLengths && j >= keyLengths[b]) ||
            (maskMod && !maskMod(b, h, i, j));
          if (hidden) bias.data[at] = -Infinity;
        }
      }
    }
  }
  return bias;
}
