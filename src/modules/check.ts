/** Checks of options that modules share. */
import { ArgumentError } from '../gpu/errors.ts';
import { checkPositive, describe } from '../ops/internal/check.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';

export function checkSizes(name: string, sizes: Readonly<Record<string, unknown>>): void {
  for (const [option, size] of Object.entries(sizes)) checkPositive(name, option, size);
}

/** The axes of `normalizedShape`, which may be the length of a single axis. */
export function normalizedAxes(name: string, normalizedShape: number | Shape): Shape {
  const axes: readonly unknown[] = Array.isArray(normalizedShape) ? normalizedShape : [normalizedShape];
  if (axes.length > 0 && axes.every((length) => Number.isInteger(length) && (length as number) >= 1)) {
    return axes as Shape;
  }
  throw new ArgumentError(`${name}: normalizedShape must be positive integers, got ${describe(normalizedShape)}`);
}

export function checkDType(name: string, dtype: unknown): asserts dtype is FloatDType {
  if (dtype !== 'float32' && dtype !== 'float16') {
    throw new ArgumentError(`${name}: dtype must be float32 or float16, got ${describe(dtype)}`);
  }
}

/** The given seed, or the device's next one. */
export function seedOf(name: string, device: Device, seed: number | undefined): number {
  const chosen = seed ?? device.nextSeed();
  if (!Number.isInteger(chosen)) throw new ArgumentError(`${name}: seed must be an integer, got ${describe(chosen)}`);
  return chosen;
}

/** The weight's dtype, for prints, unless it is the usual one. */
export function shownDType(weight: Tensor | undefined): string | undefined {
  return weight?.dtype === 'float32' ? undefined : weight?.dtype;
}
