import { checkBoolean, checkFinite } from '../ops/check.ts';
import { scaledDotProductAttention } from '../ops/scaled-dot-product-attention.ts';
import type { VisibilityOptions } from '../ops/visibility.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { Module } from './module.ts';

/** `scaledDotProductAttention` as a module without weights. */
export class ScaledDotProductAttention extends Module {
  readonly scale: number | undefined;

  /** `scale` multiplies the scores; default 1/√headDim. */
  constructor(options: { scale?: number } = {}) {
    const name = 'ScaledDotProductAttention';
    checkOptions(name, options, ['scale']);
    if (options.scale !== undefined) checkFinite(name, 'scale', options.scale);
    super(name);
    this.scale = options.scale;
  }

  /**
   * @param q [B, H, Nq, D], or [B, Nq, D] for one head
   * @param k [B, Hkv, Nk, D]
   * @param v [B, Hkv, Nk, Dv]
   * @returns output [B, H, Nq, Dv], and with `needWeights` weights [B, H, Nq, Nk]
   */
  forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options: VisibilityOptions & { needWeights?: boolean } = {},
  ): { output: Tensor; weights?: Tensor } {
    checkOptions(`${this.name}.forward`, options, ['mask', 'keyMask', 'isCausal', 'needWeights']);
    const { needWeights, ...visibility } = options;
    checkBoolean(this.name, 'needWeights', needWeights);
    return scaledDotProductAttention(q, k, v, { ...visibility, scale: this.scale, returnWeights: needWeights });
  }
}
