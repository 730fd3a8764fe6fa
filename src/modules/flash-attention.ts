import { ATTENTION_OPTIONS, type AttentionOptions, type AttentionResult } from '../ops/attention.ts';
import { checkFinite } from '../ops/check.ts';
import { checkBlockSize, flashAttention } from '../ops/flash-attention.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { Module } from './module.ts';

export interface FlashAttentionModuleOptions {
  /** Multiplies the scores; default 1/√headDim. */
  scale?: number;
  /** Keys a step of the online softmax: a power of two from 4 to 128. */
  blockSize?: number;
}

const FORWARD_OPTIONS = ATTENTION_OPTIONS.filter((name) => name !== 'scale');

/** `flashAttention` as a module without weights. */
export class FlashAttention extends Module {
  readonly scale: number | undefined;
  readonly blockSize: number | undefined;

  /** @throws ArgumentError for a scale that is not finite or a blockSize that is no power of two from 4 to 128 */
  constructor(options: FlashAttentionModuleOptions = {}) {
    const name = 'FlashAttention';
    checkOptions(name, options, ['scale', 'blockSize']);
    if (options.scale !== undefined) checkFinite(name, 'scale', options.scale);
    checkBlockSize(name, options.blockSize);
    super(name);
    this.scale = options.scale;
    this.blockSize = options.blockSize;
  }

  /**
   * @param q [B, H, Nq, D], or [B, Nq, D] for one head
   * @param k [B, Hkv, Nk, D]
   * @param v [B, Hkv, Nk, Dv]
   * @param options those of `flashAttention` but for `scale` and `blockSize`
   * @returns output [B, H, Nq, Dv], and with `returnLogSumExp` logSumExp [B, H, Nq]
   */
  forward(q: Tensor, k: Tensor, v: Tensor, options: Omit<AttentionOptions, 'scale'> = {}): AttentionResult {
    checkOptions(`${this.name}.forward`, options, FORWARD_OPTIONS);
    return flashAttention(q, k, v, { ...options, scale: this.scale, blockSize: this.blockSize });
  }
}
