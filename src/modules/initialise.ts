/** Initial weights distributed as in PyTorch. The GPU draws them when they are first used. */
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { RandomNumbers } from '../tensor/random.ts';
import type { Shape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** A tensor that has yet to be filled: with one number, or with random numbers. */
export interface Initial {
  readonly shape: Shape;
  readonly filling: number | Pick<RandomNumbers, 'distribution' | 'scale'>;
}

/** U(−a, a) with a = √(6 / (fan in + fan out)) for a weight [out, in] (Glorot & Bengio 2010). */
export function xavierUniform(shape: readonly [number, number]): Initial {
  return within(Math.sqrt(6 / (shape[0] + shape[1])), shape);
}

/** U(−1/√in, 1/√in) for a weight [out, in]: torch.nn.Linear's default. */
export function uniformByFan(shape: readonly [number, number]): Initial {
  return within(1 / Math.sqrt(shape[1]), shape);
}

export function gaussian(shape: Shape, deviation: number): Initial {
  return { shape, filling: { distribution: 'normal', scale: deviation } };
}

/** U(−bound, bound). */
export function within(bound: number, shape: Shape): Initial {
  return { shape, filling: { distribution: 'uniform', scale: bound } };
}

/**
 * Makes a module's tensors by their names. An absent one is undefined. Numbers depend on the seed, the tensor's place in the
 * record, and the element's index, and not on what else is there.
 *
 * @throws ArgumentError for a tensor that is too large for the device
 * @throws OutOfMemoryError if the memory budget has no room for all
 */
export function makeTensors(
  name: string,
  device: Device,
  dtype: FloatDType,
  initial: Readonly<Record<string, Initial | undefined>>,
  seed = 0,
): [name: string, tensor: Tensor][] {
  const given = Object.entries(initial).flatMap(([key, value], stream) => (value ? [{ key, stream, ...value }] : []));
  device.checkRoom(
    name,
    given.map(({ shape }) => shape),
    dtype,
  );
  return device.scope(() =>
    given.map(({ key, stream, shape, filling }) => {
      const whole = typeof filling === 'number' ? filling : { ...filling, seed, stream };
      return [key, device.filled(shape, dtype, name, whole)];
    }),
  );
}
