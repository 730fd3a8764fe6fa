import { noGrad } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { planNorm, planSquares, sumsOf, planScaleGradient } from '../kernels/optimiser.ts';
import { checkSameDevice, describe } from '../ops/internal/check.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { GradScaler } from './grad-scaler.ts';
import { flatGradient, ownGradient } from './gradients.ts';
import { checkParameters, type OptimiserParameters } from './parameters.ts';

export interface ClipGradNormOptions {
  /**
   * The scaler whose scale is still in the gradients. The norm is that of the gradients divided by the scale.
   */
  scaler?: GradScaler;
}

/**
 * Multiplies all gradients, in place, by min(1, maxNorm / (norm + 1e-6)), with `norm` the L2 norm of all of them together, as
 * torch.nn.utils.clip_grad_norm_ with its defaults. If the norm is not finite, gradients become 0 or NaN. It runs on the GPU, in
 * a fixed order, and does not wait.
 *
 * @param parameters of one device; those without a gradient do not count
 * @param maxNorm at least 0; Infinity only measures, and leaves the gradients as they are
 * @returns the norm before clipping, float32 [1]
 * @throws ArgumentError for parameters or options that do not fit
 */
export function clipGradNorm(
  parameters: OptimiserParameters,
  maxNorm: number,
  options: ClipGradNormOptions = {},
): Tensor {
  const op = 'clipGradNorm';
  const tensors = [...checkParameters(op, parameters).values()];
  if (typeof maxNorm !== 'number' || !(maxNorm >= 0)) {
    throw new ArgumentError(`${op}: maxNorm must be a number of at least 0, got ${describe(maxNorm)}`);
  }
  checkOptions(op, options, ['scaler']);
  const { scaler } = options;
  if (scaler !== undefined && !(scaler instanceof GradScaler)) {
    throw new ArgumentError(`${op}: scaler must be a GradScaler, got ${describe(scaler)}`);
  }
  if (scaler) checkSameDevice(op, 'the scaler', scaler.scaleTensor, 'parameters', tensors[0]);
  const { device } = tensors[0];
  const { traits } = device;
  return noGrad(() =>
    device.scope(() => {
      const measured = tensors.filter(({ grad }) => grad !== undefined);
      const clips = maxNorm !== Infinity;
      const gradients = measured.map((parameter) => (clips ? ownGradient(parameter) : flatGradient(op, parameter)));
      if (gradients.length === 0) return device.zeros([1]);
      const counts = gradients.map((gradient) => sumsOf(gradient, traits));
      const total = counts.reduce((sum, count) => sum + count, 0);
      const sums = device.empty([total], 'float32', op);
      let first = 0;
      gradients.forEach((x, i) => {
        device.dispatch(op, planSquares(op, x, first, traits), { x, sums });
        first += counts[i];
      });
      const norm = device.empty([1], 'float32', op);
      const coefficient = device.empty([1], 'float32', op);
      const scale = scaler?.scaleTensor;
      device.dispatch(op, planNorm(total, maxNorm, scale !== undefined, traits), { x: sums, scale, norm, coefficient });
      if (!clips) return norm;
      for (const x of gradients) {
        const { shape, dtype } = x;
        device.dispatch(op, planScaleGradient({ op, shape, dtype, scales: 'times' }, traits), {
          x,
          numbers: coefficient,
        });
        x.changed();
      }
      return norm;
    }),
  );
}
