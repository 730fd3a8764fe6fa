import { ATTENTION_OPTIONS, type AttentionOptions } from '../ops/attention.ts';
import { checkBoolean, checkFinite } from '../ops/check.ts';
import {
  scaledDotProductAttention,
  type ScaledDotProductAttentionResult,
} from '../ops/scaled-dot-product-attention.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { Module } from './module.ts';

const FORWARD_OPTIONS = [...ATTENTION_OPTIONS.filter((name) => name !== 'scale'), 'needWeights'];

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
   * @param options those of the op `scaledDotProductAttention` but for `scale`; `needWeights` is its `returnWeights`
   * @returns output [B, H, Nq, Dv], and with `needWeights` weights [B, H, Nq, Nk]
   */
  forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options: Omit<AttentionOptions, 'scale'> & { needWeights?: boolean } = {},
  ): Omit<ScaledDotProductAttentionResult, 'scores'> {
    checkOptions(`${this.name}.forward`, options, FORWARD_OPTIONS);
    const { needWeights, ...others } = options;
    checkBoolean(this.name, 'needWeights', needWeights);
    return scaledDotProductAttention(q, k, v, { ...others, scale: this.scale, returnWeights: needWeights });
  }
}
