import { checkBoolean, checkFinite } from '../ops/internal/check.ts';
import { rmsNorm } from '../ops/normalise.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkDType, normalizedAxes, shownDType } from './check.ts';
import { makeTensors } from './initialise.ts';
import { Module } from './module.ts';

export interface RmsNormModuleOptions {
  /** The input's last axes, or the length of the last. */
  normalizedShape: number | Shape;
  /** Added to the mean square; default 1e-5. */
  eps?: number;
  /** Whether there is a weight; default true. */
  elementwiseAffine?: boolean;
  /** Dtype of the weight, and so of the input; default `'float32'`. */
  dtype?: FloatDType;
}

/** Root-mean-square normalisation, with torch.nn.RMSNorm's state dict: `weight` [normalizedShape...], initially ones. */
export class RMSNorm extends Module {
  readonly normalizedShape: Shape;
  readonly eps: number;

  /** @throws ArgumentError for options that do not fit */
  constructor(device: Device, options: RmsNormModuleOptions) {
    const name = 'RMSNorm';
    super(name);
    checkOptions(name, options, ['normalizedShape', 'eps', 'elementwiseAffine', 'dtype']);
    const { normalizedShape, eps = 1e-5, elementwiseAffine = true, dtype = 'float32' } = options;
    checkFinite(name, 'eps', eps);
    checkBoolean(name, 'elementwiseAffine', elementwiseAffine);
    checkDType(name, dtype);
    const shape = normalizedAxes(name, normalizedShape);
    this.normalizedShape = shape;
    this.eps = eps;
    if (!elementwiseAffine) return;
    const weight = { shape, filling: 1 };
    this.registerAll(makeTensors(name, device, dtype, { weight }));
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    const { normalizedShape, eps } = this;
    const weight = this.parameter('weight');
    return { normalizedShape, eps, elementwiseAffine: weight !== undefined, dtype: shownDType(weight) };
  }

  /**
   * @param x [..., normalizedShape...]
   * @returns a tensor of x's shape
   */
  forward(x: Tensor): FloatTensor {
    return rmsNorm(x, this.normalizedShape, { weight: this.parameter('weight'), eps: this.eps });
  }
}
