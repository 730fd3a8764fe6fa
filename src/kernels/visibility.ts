import type { DType } from '../tensor/dtype.ts';
import type { Operand } from './launch.ts';

/** Keys seen by query i, which stands at i + queryOffset: [position − left, position + right]. Twin of parts/visibility.wgsl. */
export interface Band {
  readonly left: number;
  readonly right: number;
  readonly queryOffset: number;
  /** queryOffset counts from where the last query stands at the last key; else from where the first does at the first. */
  readonly alignsEnds?: boolean;
}

/** A side of a band past which no key lies, wherever the query stands. Query, offset and side add up to less than 2³¹. */
export const UNBOUNDED = 2 ** 30 - 1;
export const MAX_LENGTH = 2 ** 29;
export const MAX_QUERY_OFFSET = 2 ** 28;

/** Which keys a query may attend to, and what is added to its scores. */
export interface Visibility {
  readonly band: Band;
  /** Strides of batch, head, query, key; 0 where broadcast. */
  readonly mask?: Operand & { readonly dtype: DType };
  /** Strides of batch and key. */
  readonly keyMask?: Operand;
}

const MASK_KINDS: Readonly<Partial<Record<DType, number>>> = { bool: 1, float32: 2, float16: 3 };

/** Uniform fields that parts/visibility.wgsl reads. */
export function visibilityParams({ band, mask, keyMask }: Visibility) {
  return {
    band_left: band.left,
    band_right: band.right,
    query_offset: band.queryOffset,
    aligns_ends: band.alignsEnds ? 1 : 0,
    mask_strides: mask?.strides ?? [0, 0, 0, 0],
    mask_offset: mask?.offset ?? 0,
    mask_kind: mask ? MASK_KINDS[mask.dtype]! : 0,
    key_mask_strides: keyMask?.strides ?? [0, 0],
    key_mask_offset: keyMask?.offset ?? 0,
    has_key_mask: keyMask ? 1 : 0,
  };
}
