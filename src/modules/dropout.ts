import { checkFloat, checkProbability, checkSeed } from '../ops/internal/check.ts';
import { dropout } from '../ops/dropout.ts';
import { checkOptions } from '../tensor/options.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { Module } from './module.ts';

export interface DropoutModuleOptions {
  /** Probability with which an element is dropped, from 0 to 1; default 0.5. */
  p?: number;
}

/** Applies the op `dropout` in training mode, and does nothing otherwise, as torch.nn.Dropout. */
export class Dropout extends Module {
  readonly p: number;

  /** @throws ArgumentError for a p out of range */
  constructor(options: DropoutModuleOptions = {}) {
    const name = 'Dropout';
    super(name);
    checkOptions(name, options, ['p']);
    const { p = 0.5 } = options;
    checkProbability(name, 'p', p);
    this.p = p;
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    return { p: this.p };
  }

  /**
   * @param x any shape; float32 or float16
   * @param options `seed` determines what is dropped; default the device's next seed, a new one each time
   * @returns a tensor of x's shape and dtype; if nothing is dropped, another handle on x
   */
  forward(x: Tensor, options: { seed?: number } = {}): FloatTensor {
    checkOptions(`${this.name}.forward`, options, ['seed']);
    checkFloat(this.name, 'x', x);
    checkSeed(this.name, 'seed', options.seed);
    if (!this.training || this.p === 0) return x.reshape(x.shape);
    return dropout(x, { p: this.p, seed: options.seed });
  }
}
