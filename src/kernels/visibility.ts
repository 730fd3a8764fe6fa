import type { DType } from '../tensor/dtype.ts';
import type { Operand } from './launch.ts';

/** Keys seen by query i: [i + queryOffset − left, i + queryOffset + right]. Twin of parts/visibility.wgsl. */
export interface Band {
  readonly left: number;
  readonly right: number;
  readonly queryOffset: number;
}

/** A bound that no key reaches; leaves room for sums of two in an i32. */
export const UNBOUNDED = 2 ** 30 - 1;

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
    mask_strides: mask?.strides ?? [0, 0, 0, 0],
    mask_offset: mask?.offset ?? 0,
    mask_kind: mask ? MASK_KINDS[mask.dtype]! : 0,
    key_mask_strides: keyMask?.strides ?? [0, 0],
    key_mask_offset: keyMask?.offset ?? 0,
    has_key_mask: keyMask ? 1 : 0,
  };
}
