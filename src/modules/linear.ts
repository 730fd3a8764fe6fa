import { checkBoolean } from '../ops/internal/check.ts';
import { linear } from '../ops/linear.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkDType, checkSizes, seedOf, shownDType } from './check.ts';
import { makeTensors, uniformByFan, within } from './initialise.ts';
import { Module } from './module.ts';

export interface LinearModuleOptions {
  inFeatures: number;
  outFeatures: number;
  /** Default true. */
  bias?: boolean;
  /** Dtype of the weights, and so of the input; default `'float32'`. */
  dtype?: FloatDType;
  /** Seed of the initial weights; default the device's next seed, so that each module starts differently. */
  seed?: number;
}

/**
 * x · weightᵀ + bias, with torch.nn.Linear's state dict, `weight` [outFeatures, inFeatures] and `bias` [outFeatures], and
 * its initial distribution, uniform within ±1/√inFeatures.
 */
export class Linear extends Module {
  readonly inFeatures: number;
  readonly outFeatures: number;

  /** @throws ArgumentError for options that do not fit */
  constructor(device: Device, options: LinearModuleOptions) {
    const name = 'Linear';
    super(name);
    checkOptions(name, options, ['inFeatures', 'outFeatures', 'bias', 'dtype', 'seed']);
    const { inFeatures, outFeatures, bias: hasBias = true, dtype = 'float32' } = options;
    checkSizes(name, { inFeatures, outFeatures });
    checkBoolean(name, 'bias', hasBias);
    checkDType(name, dtype);
    const seed = seedOf(name, device, options.seed);
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    const initial = {
      weight: uniformByFan([outFeatures, inFeatures]),
      bias: hasBias ? within(1 / Math.sqrt(inFeatures), [outFeatures]) : undefined,
    };
    this.registerAll(makeTensors(name, device, dtype, initial, seed));
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    const { inFeatures, outFeatures } = this;
    const bias = this.parameter('bias') !== undefined;
    return { inFeatures, outFeatures, bias, dtype: shownDType(this.parameter('weight')) };
  }

  /**
   * @param x [..., inFeatures]
   * @returns [..., outFeatures]
   */
  forward(x: Tensor): FloatTensor {
    return linear(x, this.parameter('weight')!, { bias: this.parameter('bias') });
  }
}
