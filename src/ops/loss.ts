import { ArgumentError } from '../gpu/errors.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { multiply, subtract } from './elementwise.ts';
import { checkAlike, checkChoice, checkFloat } from './internal/check.ts';
import { binary } from './internal/elementwise.ts';
import { mean, sum } from './sum.ts';

export interface LossOptions {
  /** `'none'` gives the loss of each element. Default `'mean'`. */
  reduction?: 'mean' | 'sum' | 'none';
}

/**
 * The squared error (x − target)², as torch.nn.functional.mse_loss.
 *
 * @param x any shape; float32 or float16; any strides
 * @param target of x's shape and dtype
 * @returns of x's dtype: [1], or x's shape for `reduction: 'none'`
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function mseLoss(x: Tensor, target: Tensor, options: LossOptions = {}): FloatTensor {
  return loss('mseLoss', { x, target }, options, () => {
    const difference = subtract(x, target);
    return multiply(difference, difference);
  });
}

/**
 * The binary cross-entropy of sigmoid(logits), −(target ln σ + (1 − target) ln (1 − σ)), as
 * torch.nn.functional.binary_cross_entropy_with_logits. It does not overflow for large finite logits.
 *
 * @param logits any shape; float32 or float16; any strides
 * @param target of logits' shape and dtype, from 0 to 1
 * @returns of logits' dtype: [1], or logits' shape for `reduction: 'none'`
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function bceWithLogits(logits: Tensor, target: Tensor, options: LossOptions = {}): FloatTensor {
  return loss('bceWithLogits', { logits, target }, options, () => binary('bceWithLogits', { logits, target }));
}

/** Checks a loss of two tensors, of which the second is the target, and reduces what `elements` gives. */
function loss(
  op: string,
  operands: Readonly<Record<string, Tensor>>,
  options: LossOptions,
  elements: () => FloatTensor,
): FloatTensor {
  checkOptions(op, options, ['reduction']);
  const { reduction = 'mean' } = options;
  checkChoice(op, 'reduction', reduction, ['mean', 'sum', 'none']);
  const [[name, x], [, target]] = Object.entries(operands);
  checkFloat(op, name, x);
  checkFloat(op, 'target', target);
  checkAlike(op, name, operands);
  if (formatShape(target.shape) !== formatShape(x.shape)) {
    throw new ArgumentError(
      `${op}: target must have ${name}'s shape ${formatShape(x.shape)}, got ${formatShape(target.shape)}`,
    );
  }
  return x.device.scope(() => {
    const values = elements();
    if (reduction === 'none') return values;
    return reduction === 'mean' ? mean(values) : sum(values);
  });
}
