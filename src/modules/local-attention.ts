import { ArgumentError } from '../gpu/errors.ts';
import { describe } from '../ops/internal/check.ts';
import { localAttention } from '../ops/attention/fused-attention.ts';
import type { VisibilityOptions } from '../ops/attention/internal/options.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { droppedBy, type AttentionDropoutForwardOptions } from './attention-dropout.ts';
import {
  type CachedForwardOptions,
  PROJECTION_OPTIONS,
  ProjectedAttention,
  type ProjectionOptions,
} from './projected-attention.ts';

export interface LocalAttentionModuleOptions extends ProjectionOptions {
  /** w: position i attends to |i − j| ≤ ⌊w/2⌋. */
  windowSize: number;
}

/** Multi-head self-attention within a window around each position. State dict: torch.nn.MultiheadAttention's. */
export class LocalAttention extends ProjectedAttention {
  readonly windowSize: number;

  /** @throws ArgumentError for options that do not fit, such as a negative or fractional windowSize */
  constructor(device: Device, options: LocalAttentionModuleOptions) {
    const name = 'LocalAttention';
    checkOptions(name, options, [...PROJECTION_OPTIONS, 'windowSize']);
    const { windowSize, ...rest } = options;
    if (!Number.isInteger(windowSize) || windowSize < 0) {
      throw new ArgumentError(`${name}: windowSize must be an integer of 0 or more, got ${describe(windowSize)}`);
    }
    super(name, device, rest);
    this.windowSize = windowSize;
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    return { ...super.extraRepr(), windowSize: this.windowSize };
  }

  /** @param x [B, N, embedDim]; with a cache, the tokens that follow those that it holds */
  forward(
    x: Tensor,
    options: VisibilityOptions & AttentionDropoutForwardOptions & CachedForwardOptions = {},
  ): { output: FloatTensor } {
    this.checkInput('x', x, this.embedDim);
    this.checkForward(x, x, options, ['mask', 'keyMask', 'isCausal', 'dropoutSeed', 'cache']);
    const { dropoutSeed, cache, ...visibility } = options;
    const length = x.shape[1];
    // no key is further away
    const half = Math.min(Math.floor(this.windowSize / 2), cache ? cache.lengthAfter(length) : length);
    const window = { left: half, right: half };
    return this.device.scope(() => {
      const { q, k, v } = this.project(x, x, x);
      if (cache) {
        const seen = { ...visibility, window: { ...window, align: 'bottom-right' as const } };
        return { output: this.attendCached(cache, { q, k, v }, seen) };
      }
      const { output } = localAttention(q, k, v, { ...visibility, ...droppedBy(this, dropoutSeed), window });
      return { output: this.combine(output) };
    });
  }
}
