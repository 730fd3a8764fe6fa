import { ArgumentError } from '../gpu/errors.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import {
  FORWARD_OPTIONS,
  PROJECTION_OPTIONS,
  ProjectedAttention,
  ProjectedContext,
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
   * @param context [B, Nk, kvDim], the keys and values; or what `projectContext` made of it, for many calls
   */
  forward(x: Tensor, context: Tensor | ProjectedContext, options: AttentionForwardOptions = {}): AttentionModuleResult {
    this.checkInput('x', x, this.embedDim);
    const isProjected = context instanceof ProjectedContext;
    if (isProjected) this.#checkProjected(context);
    else this.checkInput('context', context, this.kDim);
    const [batch, length] = isProjected ? [context.k.shape[0], context.k.shape[2]] : context.shape;
    if (batch !== x.shape[0]) {
      throw new ArgumentError(
        `${this.name}: context must have x's batch ${x.shape[0]}, got ${formatShape(isProjected ? context.k.shape : context.shape)}`,
      );
    }
    this.checkForward(x, { shape: [batch, length] }, options, FORWARD_OPTIONS);
    return this.device.scope(() => {
      const heads = isProjected
        ? { q: this.projectQuery(x), k: context.k, v: context.v }
        : this.project(x, context, context);
      return this.attend(heads, options);
    });
  }

  /**
   * Projects a context once, for calls of `forward` that share it: the steps of a decoder. Dispose the result after the last.
   *
   * @param context [B, Nk, kvDim]
   */
  projectContext(context: Tensor): ProjectedContext {
    this.checkInput('context', context, this.kDim);
    return this.device.scope(() => this.projectKeyValue(context));
  }

  #checkProjected({ k, owner }: ProjectedContext): void {
    if (!k.disposed && owner === this) return;
    const got = k.disposed ? 'one that is disposed' : "another module's";
    throw new ArgumentError(`${this.name}: context must be of this module's projectContext, got ${got}`);
  }
}
