import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Tensor } from '../tensor/tensor.ts';
import {
  FORWARD_OPTIONS,
  PROJECTION_OPTIONS,
  ProjectedAttention,
  type AttentionForwardOptions,
  type AttentionModuleResult,
  type CachedForwardOptions,
  type ProjectionOptions,
} from './projected-attention.ts';

/** Multi-head attention of a sequence to itself; one product makes q, k and v. State dict: torch.nn.MultiheadAttention's. */
export class SelfAttention extends ProjectedAttention {
  /** @throws ArgumentError for options that do not fit, such as numHeads that does not divide embedDim */
  constructor(device: Device, options: ProjectionOptions) {
    const name = 'SelfAttention';
    checkOptions(name, options, PROJECTION_OPTIONS);
    super(name, device, options);
  }

  /** @param x [B, N, embedDim]; with a cache, the tokens that follow those that it holds */
  forward(x: Tensor, options: AttentionForwardOptions & CachedForwardOptions = {}): AttentionModuleResult {
    this.checkInput('x', x, this.embedDim);
    this.checkForward(x, x, options, [...FORWARD_OPTIONS, 'cache']);
    return this.device.scope(() => this.attend(this.project(x, x, x), options));
  }
}
