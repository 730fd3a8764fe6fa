import { noGrad, record } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { canNormalise, planNormalise, type NormaliseProblem } from '../kernels/normalise.ts';
import { operandOf } from '../kernels/launch.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape, type Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkAlike, checkFinite, checkFloat, describe } from './internal/check.ts';
import { contiguous } from './copy.ts';
import { normaliseGradient } from './internal/normalise-gradient.ts';

export interface RmsNormOptions {
  /** Multiplies the result: normalizedShape, of x's dtype. */
  weight?: Tensor;
  /** Added to the mean square; default 1e-5. */
  eps?: number;
}

export interface LayerNormOptions {
  /** Multiplies the result: normalizedShape, of x's dtype. */
  weight?: Tensor;
  /** Added at the end: normalizedShape, of x's dtype. */
  bias?: Tensor;
  /** Added to the variance; default 1e-5. */
  eps?: number;
}

/**
 * (x − mean) / √(variance + eps) · weight + bias, over the last axes together (Ba et al. 2016), as
 * torch.nn.functional.layer_norm. Sums are float32.
 *
 * @param x [..., normalizedShape...]; float32 or float16; any strides, some of which take a copy
 * @param normalizedShape x's last axes, or the length of the last
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function layerNorm(x: Tensor, normalizedShape: number | Shape, options: LayerNormOptions = {}): FloatTensor {
  const op = 'layerNorm';
  checkOptions(op, options, ['weight', 'bias', 'eps']);
  const { weight, bias, eps } = options;
  return normalise(op, x, normalizedShape, { weight, bias, eps, isCentred: true });
}

/**
 * x / √(mean(x²) + eps) · weight, over the last axes together (Zhang & Sennrich 2019), as torch.nn.functional.rms_norm.
 * Only the default of eps differs, which depends on the dtype in torch. Sums are float32.
 *
 * @param x [..., normalizedShape...]; float32 or float16; any strides, some of which take a copy
 * @param normalizedShape x's last axes, or the length of the last
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function rmsNorm(x: Tensor, normalizedShape: number | Shape, options: RmsNormOptions = {}): FloatTensor {
  const op = 'rmsNorm';
  checkOptions(op, options, ['weight', 'eps']);
  const { weight, eps } = options;
  return normalise(op, x, normalizedShape, { weight, eps, isCentred: false });
}

interface Normalisation extends LayerNormOptions {
  isCentred: boolean;
}

function normalise(op: string, x: Tensor, normalizedShape: number | Shape, options: Normalisation): FloatTensor {
  const { weight, bias, eps = 1e-5, isCentred } = options;
  checkFloat(op, 'x', x);
  const inner = typeof normalizedShape === 'number' ? [normalizedShape] : normalizedShape;
  const isTail =
    Array.isArray(inner) && inner.length > 0 && formatShape(x.shape.slice(-inner.length)) === formatShape(inner);
  if (!isTail) {
    throw new ArgumentError(
      `${op}: normalizedShape must be the last axes of x ${formatShape(x.shape)}, got ${describe(normalizedShape)}`,
    );
  }
  for (const [name, tensor] of Object.entries({ weight, bias })) {
    if (tensor === undefined) continue;
    checkFloat(op, name, tensor);
    if (formatShape(tensor.shape) !== formatShape(inner)) {
      throw new ArgumentError(`${op}: ${name} must have shape ${formatShape(inner)}, got ${formatShape(tensor.shape)}`);
    }
  }
  checkAlike(op, 'x', { x, weight, bias });
  checkFinite(op, 'eps', eps);
  if (eps < 0) throw new ArgumentError(`${op}: eps must be at least 0, got ${eps}`);
  const axes = inner.length;
  const output = noGrad(() =>
    x.device.scope(() => {
      const problem = problemOf(op, { x, weight, bias }, axes, eps, isCentred);
      if (canNormalise(problem)) return run(problem, { x, weight, bias });
      const dense = {
        x: contiguous(x),
        weight: weight && contiguous(weight),
        bias: bias && contiguous(bias),
      };
      return run(problemOf(op, dense, axes, eps, isCentred), dense);
    }),
  );
  record({
    op,
    inputs: { x, weight, bias },
    outputs: [output],
    saved: { x, weight },
    backward: ([gradient], saved, needs) =>
      normaliseGradient({ op, axes, epsilon: eps, isCentred }, gradient!, saved, needs),
  });
  return output;
}

interface Operands {
  x: FloatTensor;
  weight?: Tensor;
  bias?: Tensor;
}

function problemOf(
  op: string,
  { x, weight, bias }: Operands,
  axes: number,
  epsilon: number,
  isCentred: boolean,
): NormaliseProblem {
  return {
    op,
    shape: x.shape,
    axes,
    dtype: x.dtype,
    x: operandOf(x),
    weight: weight && operandOf(weight),
    bias: bias && operandOf(bias),
    epsilon,
    isCentred,
  };
}

function run(problem: NormaliseProblem, { x, weight, bias }: Operands): FloatTensor {
  const { device } = x;
  const output = device.empty(problem.shape, problem.dtype, problem.op);
  device.dispatch(problem.op, planNormalise(problem, device.traits), { x, weight, bias, output });
  return output;
}
