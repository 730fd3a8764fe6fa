import { ArgumentError } from '../gpu/errors.ts';
import { describe } from '../ops/internal/check.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { Module } from './module.ts';
import { ModuleList } from './module-list.ts';

/** A module that takes a tensor and returns one. */
export type Layer = Module & { forward(x: Tensor): Tensor };

/** Modules that each take what the one before returns, as torch.nn.Sequential. An op stands between them as a function. */
export class Sequential extends ModuleList<Layer> {
  /**
   * @param layers modules whose forward takes one tensor and returns one, or functions that do, such as `relu`
   * @throws ArgumentError for a value that is neither
   */
  constructor(...layers: readonly (Layer | ((x: Tensor) => Tensor))[]) {
    const name = 'Sequential';
    super(
      layers.map((layer, i) => {
        if (layer instanceof Module && typeof layer.forward === 'function') return layer;
        if (typeof layer === 'function') return new Applied(layer);
        throw new ArgumentError(
          `${name}: layer ${i} must be a module with forward(x), or a function, got ${describe(layer)}`,
        );
      }),
      name,
    );
  }

  /** @returns what the last layer returns; without layers, another handle on x */
  forward(x: Tensor): Tensor {
    const [first, ...others] = this;
    if (!first) return x.reshape(x.shape);
    if (others.length === 0) return first.forward(x);
    return x.device.scope(() => others.reduce((y, layer) => layer.forward(y), first.forward(x)));
  }
}

/** A function in the place of a module. */
class Applied extends Module {
  readonly forward: (x: Tensor) => Tensor;

  constructor(apply: (x: Tensor) => Tensor) {
    super(apply.name || 'Function');
    this.forward = (x) => apply(x);
  }
}
