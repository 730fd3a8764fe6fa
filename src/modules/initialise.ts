/** Initial weights distributed as in PyTorch, drawn on the host from one seeded stream for each module. */
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { normal, uniform } from '../tensor/random.ts';
import { sizeOf, type Shape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';

export class Initialiser {
  readonly #device: Device;
  readonly #dtype: FloatDType;
  readonly #uniform: () => number;
  readonly #normal: () => number;

  constructor(device: Device, dtype: FloatDType, seed: number) {
    this.#device = device;
    this.#dtype = dtype;
    this.#uniform = uniform(seed);
    this.#normal = normal(seed + 1);
  }

  /** U(−a, a) with a = √(6 / (fan in + fan out)) for a weight [out, in] (Glorot & Bengio 2010). */
  xavierUniform(shape: readonly [number, number]): Tensor {
    return this.within(Math.sqrt(6 / (shape[0] + shape[1])), shape);
  }

  /** U(−1/√in, 1/√in) for a weight [out, in]: torch.nn.Linear's default. */
  linear(shape: readonly [number, number]): Tensor {
    return this.within(1 / Math.sqrt(shape[1]), shape);
  }

  gaussian(shape: Shape, deviation: number): Tensor {
    return this.#tensor(shape, () => deviation * this.#normal());
  }

  zeros(shape: Shape): Tensor {
    return this.#device.zeros(shape, { dtype: this.#dtype });
  }

  /** U(−bound, bound). */
  within(bound: number, shape: Shape): Tensor {
    return this.#tensor(shape, () => bound * (2 * this.#uniform() - 1));
  }

  #tensor(shape: Shape, next: () => number): Tensor {
    return this.#device.tensor(Float32Array.from({ length: sizeOf(shape) }, next), shape, { dtype: this.#dtype });
  }
}

/** The initial weights of normalisations. */
export function ones(device: Device, shape: Shape, dtype: FloatDType): Tensor {
  return device.tensor(new Float32Array(sizeOf(shape)).fill(1), shape, { dtype });
}
