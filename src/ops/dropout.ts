import { record } from '../autograd/tape.ts';
import { planDropout } from '../kernels/elementwise.ts';
import { operandOf } from '../kernels/launch.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkFloat, checkProbability, checkSeed } from './internal/check.ts';

export interface DropoutOptions {
  /** Probability with which an element is dropped, from 0 to 1; default 0.5. */
  p?: number;
  /** A whole number from 0 to 2^53 − 1. Default the device's next seed, so that each call drops other elements. */
  seed?: number;
}

/**
 * Replaces each element by 0 with probability p, and divides the others by 1 − p (Srivastava et al. 2014), as
 * torch.nn.functional.dropout with training=True. Only the seed and an element's row-major index decide whether it is
 * dropped (Philox), so the result is the same on every device, dtype and layout. NaN and infinities are dropped too.
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for a dtype or options that do not fit
 */
export function dropout(x: Tensor, options: DropoutOptions = {}): FloatTensor {
  const op = 'dropout';
  checkOptions(op, options, ['p', 'seed']);
  checkFloat(op, 'x', x);
  const { p = 0.5 } = options;
  checkProbability(op, 'p', p);
  checkSeed(op, 'seed', options.seed);
  const { seed = x.device.nextSeed() } = options;
  const output = drop(op, x, p, seed);
  record({
    op,
    inputs: { x },
    outputs: [output],
    backward: ([gradient]) => ({ x: drop(op, gradient!, p, seed) }),
  });
  return output;
}

function drop(op: string, x: Tensor, p: number, seed: number): FloatTensor {
  const { device, shape } = x;
  const dtype = x.dtype as FloatDType;
  const output = device.empty(shape, dtype, op);
  device.dispatch(op, planDropout({ op, shape, dtype, x: operandOf(x), p, seed }, device.traits), { x, output });
  return output;
}
