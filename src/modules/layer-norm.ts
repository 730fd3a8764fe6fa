import { checkBoolean, checkFinite } from '../ops/internal/check.ts';
import { layerNorm } from '../ops/normalise.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkDType, normalizedAxes, shownDType } from './check.ts';
import { makeTensors } from './initialise.ts';
import { Module } from './module.ts';

export interface LayerNormModuleOptions {
  /** The input's last axes, or the length of the last. */
  normalizedShape: number | Shape;
  /** Added to the variance; default 1e-5. */
  eps?: number;
  /** Whether there are a weight and a bias; default true. */
  elementwiseAffine?: boolean;
  /** Whether there is a bias besides the weight; default true. */
  bias?: boolean;
  /** Dtype of the weights, and so of the input; default `'float32'`. */
  dtype?: FloatDType;
}

/**
 * Layer normalisation, with torch.nn.LayerNorm's state dict: `weight` and `bias` [normalizedShape...], initially ones and
 * zeros.
 */
export class LayerNorm extends Module {
  readonly normalizedShape: Shape;
  readonly eps: number;

  /** @throws ArgumentError for options that do not fit */
  constructor(device: Device, options: LayerNormModuleOptions) {
    const name = 'LayerNorm';
    super(name);
    checkOptions(name, options, ['normalizedShape', 'eps', 'elementwiseAffine', 'bias', 'dtype']);
    const { normalizedShape, eps = 1e-5, elementwiseAffine = true, bias: hasBias = true, dtype = 'float32' } = options;
    checkFinite(name, 'eps', eps);
    checkBoolean(name, 'elementwiseAffine', elementwiseAffine);
    checkBoolean(name, 'bias', hasBias);
    checkDType(name, dtype);
    const shape = normalizedAxes(name, normalizedShape);
    this.normalizedShape = shape;
    this.eps = eps;
    if (!elementwiseAffine) return;
    const initial = { weight: { shape, filling: 1 }, bias: hasBias ? { shape, filling: 0 } : undefined };
    this.registerAll(makeTensors(name, device, dtype, initial));
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    const { normalizedShape, eps } = this;
    const weight = this.parameter('weight');
    const bias = weight && !this.parameter('bias') ? false : undefined;
    return { normalizedShape, eps, elementwiseAffine: weight !== undefined, bias, dtype: shownDType(weight) };
  }

  /**
   * @param x [..., normalizedShape...]
   * @returns a tensor of x's shape
   */
  forward(x: Tensor): FloatTensor {
    return layerNorm(x, this.normalizedShape, {
      weight: this.parameter('weight'),
      bias: this.parameter('bias'),
      eps: this.eps,
    });
  }
}
