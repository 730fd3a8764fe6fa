import { ATTENTION_OPTIONS, type AttentionOptions } from '../ops/attention/internal/options.ts';
import { checkBoolean, checkFinite, checkProbability, checkSeed } from '../ops/internal/check.ts';
import {
  scaledDotProductAttention,
  type ScaledDotProductAttentionResult,
} from '../ops/attention/scaled-dot-product-attention.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { droppedBy, type AttentionDropoutForwardOptions, type AttentionDropoutOptions } from './attention-dropout.ts';
import { Module } from './module.ts';

export interface ScaledDotProductAttentionModuleOptions extends AttentionDropoutOptions {
  /** Multiplies the scores; default 1/√headDim. */
  scale?: number;
}

/** Options of the op that the module takes itself. */
const OWN_OPTIONS: readonly string[] = ['scale', 'dropoutP'];
const FORWARD_OPTIONS = [...ATTENTION_OPTIONS.filter((name) => !OWN_OPTIONS.includes(name)), 'needWeights'];

/** `scaledDotProductAttention` as a module without weights. */
export class ScaledDotProductAttention extends Module {
  readonly scale: number | undefined;
  readonly dropoutP: number;

  /** @throws ArgumentError for a scale that is not finite or a dropoutP out of range */
  constructor(options: ScaledDotProductAttentionModuleOptions = {}) {
    const name = 'ScaledDotProductAttention';
    checkOptions(name, options, ['scale', 'dropoutP']);
    const { dropoutP = 0 } = options;
    if (options.scale !== undefined) checkFinite(name, 'scale', options.scale);
    checkProbability(name, 'dropoutP', dropoutP);
    super(name);
    this.scale = options.scale;
    this.dropoutP = dropoutP;
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    const { scale, dropoutP } = this;
    return { scale, dropoutP: dropoutP || undefined };
  }

  /**
   * @param q [B, H, Nq, D], or [B, Nq, D] for one head
   * @param k [B, Hkv, Nk, D]
   * @param v [B, Hkv, Nk, Dv]
   * @param options those of the op `scaledDotProductAttention` except for `scale` and `dropoutP`; `needWeights` is its `returnWeights`
   * @returns output [B, H, Nq, Dv], and with `needWeights` weights [B, H, Nq, Nk]
   */
  forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options: Omit<AttentionOptions, 'scale' | 'dropoutP'> &
      AttentionDropoutForwardOptions & { needWeights?: boolean } = {},
  ): Omit<ScaledDotProductAttentionResult, 'scores'> {
    checkOptions(`${this.name}.forward`, options, FORWARD_OPTIONS);
    const { needWeights, dropoutSeed, ...others } = options;
    checkBoolean(this.name, 'needWeights', needWeights);
    checkSeed(this.name, 'dropoutSeed', dropoutSeed);
    const dropped = droppedBy(this, dropoutSeed);
    return scaledDotProductAttention(q, k, v, { ...others, ...dropped, scale: this.scale, returnWeights: needWeights });
  }
}
