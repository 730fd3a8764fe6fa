/** Initial weights distributed as in PyTorch, drawn on the host from one seeded stream for each module. */
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { normal, uniform } from '../tensor/random.ts';
import { sizeOf, type Shape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** A tensor that has yet to be filled. */
export interface Initial {
  readonly shape: Shape;
  /** Gives its elements, in row-major order. Without it they are zeros. */
  readonly next?: () => number;
}

export class Initialiser {
  readonly #uniform: () => number;
  readonly #normal: () => number;

  constructor(seed: number) {
    this.#uniform = uniform(seed);
    this.#normal = normal(seed + 1);
  }

  /** U(−a, a) with a = √(6 / (fan in + fan out)) for a weight [out, in] (Glorot & Bengio 2010). */
  xavierUniform(shape: readonly [number, number]): Initial {
    return this.within(Math.sqrt(6 / (shape[0] + shape[1])), shape);
  }

  /** U(−1/√in, 1/√in) for a weight [out, in]: torch.nn.Linear's default. */
  linear(shape: readonly [number, number]): Initial {
    return this.within(1 / Math.sqrt(shape[1]), shape);
  }

  gaussian(shape: Shape, deviation: number): Initial {
    return { shape, next: () => deviation * this.#normal() };
  }

  /** U(−bound, bound). */
  within(bound: number, shape: Shape): Initial {
    return { shape, next: () => bound * (2 * this.#uniform() - 1) };
  }
}

/**
 * Makes a module's tensors, in the order given, by their names. An absent one is undefined. No number is drawn before the
 * device has room for all of them.
 *
 * @throws ArgumentError for a tensor that is too large for the device
 * @throws OutOfMemoryError if the memory budget has no room for all
 */
export function makeTensors(
  name: string,
  device: Device,
  dtype: FloatDType,
  initial: Readonly<Record<string, Initial | undefined>>,
): [name: string, tensor: Tensor][] {
  const given = Object.entries(initial).flatMap(([key, value]) => (value ? [[key, value] as const] : []));
  device.checkRoom(
    name,
    given.map(([, { shape }]) => shape),
    dtype,
  );
  return device.scope(() =>
    given.map(([key, { shape, next }]) => {
      if (!next) return [key, device.zeros(shape, { dtype })];
      return [key, device.tensor(Float32Array.from({ length: sizeOf(shape) }, next), shape, { dtype })];
    }),
  );
}
