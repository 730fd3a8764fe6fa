import type { AttentionResult } from '../ops/attention/internal/call.ts';
import { ATTENTION_OPTIONS, type AttentionOptions } from '../ops/attention/internal/options.ts';
import { checkFinite, checkProbability, checkSeed } from '../ops/internal/check.ts';
import { checkBlockSize, flashAttention } from '../ops/attention/fused-attention.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { droppedBy, type AttentionDropoutForwardOptions, type AttentionDropoutOptions } from './attention-dropout.ts';
import { Module } from './module.ts';

export interface FlashAttentionModuleOptions extends AttentionDropoutOptions {
  /** Multiplies the scores; default 1/√headDim. */
  scale?: number;
  /** Keys per step of the online softmax: a power of two from 4 to 128. */
  blockSize?: number;
}

/** Options of the op that the module takes itself. */
const OWN_OPTIONS: readonly string[] = ['scale', 'dropoutP'];
const FORWARD_OPTIONS = ATTENTION_OPTIONS.filter((name) => !OWN_OPTIONS.includes(name));

/** `flashAttention` as a module without weights. */
export class FlashAttention extends Module {
  readonly scale: number | undefined;
  readonly blockSize: number | undefined;
  readonly dropoutP: number;

  /** @throws ArgumentError for a scale that is not finite, or a blockSize or dropoutP out of range */
  constructor(options: FlashAttentionModuleOptions = {}) {
    const name = 'FlashAttention';
    checkOptions(name, options, ['scale', 'blockSize', 'dropoutP']);
    const { dropoutP = 0 } = options;
    if (options.scale !== undefined) checkFinite(name, 'scale', options.scale);
    checkBlockSize(name, options.blockSize);
    checkProbability(name, 'dropoutP', dropoutP);
    super(name);
    this.scale = options.scale;
    this.blockSize = options.blockSize;
    this.dropoutP = dropoutP;
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    const { scale, blockSize, dropoutP } = this;
    return { scale, blockSize, dropoutP: dropoutP || undefined };
  }

  /**
   * @param q [B, H, Nq, D], or [B, Nq, D] for one head
   * @param k [B, Hkv, Nk, D]
   * @param v [B, Hkv, Nk, Dv]
   * @param options those of `flashAttention` except for `scale`, `blockSize` and `dropoutP`
   * @returns output [B, H, Nq, Dv], and with `returnLogSumExp` logSumExp [B, H, Nq]
   */
  forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options: Omit<AttentionOptions, 'scale' | 'dropoutP'> & AttentionDropoutForwardOptions = {},
  ): AttentionResult {
    checkOptions(`${this.name}.forward`, options, FORWARD_OPTIONS);
    const { dropoutSeed, ...others } = options;
    checkSeed(this.name, 'dropoutSeed', dropoutSeed);
    const { scale, blockSize } = this;
    return flashAttention(q, k, v, { ...others, ...droppedBy(this, dropoutSeed), scale, blockSize });
  }
}
