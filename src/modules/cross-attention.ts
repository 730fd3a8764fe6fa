import { ArgumentError } from '../gpu/errors.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import {
  FORWARD_OPTIONS,
  PROJECTION_OPTIONS,
  ProjectedAttention,
  type AttentionForwardOptions,
  type AttentionModuleResult,
  type ProjectionOptions,
} from './projected-attention.ts';

export interface CrossAttentionOptions extends ProjectionOptions {
  /** Width of the context; default embedDim. */
  kvDim?: number;
}

/**
 * Multi-head attention of one sequence to another. If kvDim equals embedDim, one product makes k and v. State dict:
 * torch.nn.MultiheadAttention's with `kdim` and `vdim` of kvDim.
 */
export class CrossAttention extends ProjectedAttention {
  /** @throws ArgumentError for options that do not fit, such as numHeads that does not divide embedDim */
  constructor(device: Device, options: CrossAttentionOptions) {
    const name = 'CrossAttention';
    checkOptions(name, options, [...PROJECTION_OPTIONS, 'kvDim']);
    const { kvDim, ...rest } = options;
    super(name, device, { ...rest, kDim: kvDim, vDim: kvDim });
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    const { kDim: _, vDim, ...others } = super.extraRepr();
    return { ...others, kvDim: vDim };
  }

  /**
   * @param x [B, Nq, embedDim], the queries
   * @param context [B, Nk, kvDim], the keys and values
   */
  forward(x: Tensor, context: Tensor, options: AttentionForwardOptions = {}): AttentionModuleResult {
    this.checkInput('x', x, this.embedDim);
    this.checkInput('context', context, this.kDim);
    if (context.shape[0] !== x.shape[0]) {
      throw new ArgumentError(
        `${this.name}: context must have x's batch ${x.shape[0]}, got ${formatShape(context.shape)}`,
      );
    }
    this.checkForward(x, context, options, FORWARD_OPTIONS);
    return this.device.scope(() => this.attend(this.project(x, context, context), options));
  }
}
