import { ArgumentError } from '../gpu/errors.ts';
import { planSample } from '../kernels/reduce.ts';
import { operandOf } from '../kernels/launch.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkFinite, checkFloat, describe } from './internal/check.ts';

export interface SampleOptions {
  /** Divides the logits; 0 takes the largest of each row. Default 1. */
  temperature?: number;
  /** Seed of the random numbers, an integer of at least 0. Default the device's next seed, so that each call draws anew. */
  seed?: number;
  /** Number of the draw under one seed, an integer of at least 0; default 0. A decoding loop increments it. */
  step?: number;
}

/**
 * Draws a column of each row with probability softmax(logits / temperature) (Gumbel-max). The noise is a function of
 * seed, step, row and column (Philox): the same on every device, up to the rounding of a logarithm. The first of equal
 * columns wins. NaN loses to every number.
 *
 * @param logits [B, V] or [V]; float32 or float16; any strides
 * @returns uint32 [B], or [1] for logits [V]
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function sample(logits: Tensor, options: SampleOptions = {}): Tensor<'uint32'> {
  const op = 'sample';
  checkOptions(op, options, ['temperature', 'seed', 'step']);
  checkFloat(op, 'logits', logits);
  if (logits.rank > 2) {
    throw new ArgumentError(`${op}: logits must be [batch, classes] or [classes], got ${formatShape(logits.shape)}`);
  }
  const { temperature = 1, step = 0 } = options;
  checkFinite(op, 'temperature', temperature);
  if (temperature < 0) throw new ArgumentError(`${op}: temperature must be at least 0, got ${temperature}`);
  checkCount(op, 'step', step);
  if (options.seed !== undefined) checkCount(op, 'seed', options.seed);
  const { device, dtype } = logits;
  const { seed = temperature > 0 ? device.nextSeed() : 0 } = options;
  const { strides, offset } = operandOf(logits);
  const [rows, columns] = [1, ...logits.shape].slice(-2) as [number, number];
  const output = device.empty([rows], 'uint32', op);
  const launch = planSample(
    { op, rows, columns, dtype, logits: { strides: [0, ...strides].slice(-2), offset }, temperature, seed, step },
    device.traits,
  );
  device.dispatch(op, launch, { logits, output });
  return output;
}

function checkCount(op: string, name: string, value: unknown): void {
  if (!Number.isSafeInteger(value) || (value as number) < 0) {
    throw new ArgumentError(`${op}: ${name} must be an integer of at least 0, got ${describe(value)}`);
  }
}
