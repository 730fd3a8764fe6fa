import { noGrad } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkAlike, checkFloat } from './internal/check.ts';
import { contiguous } from './copy.ts';
import { recordProduct } from './internal/matmul-gradient.ts';
import { product } from './internal/product.ts';

export interface LinearOptions {
  /** [out], added to every row. */
  bias?: Tensor;
}

/**
 * x · weightᵀ + bias, as torch.nn.functional.linear.
 *
 * @param x [..., in]; float32 or float16; any strides
 * @param weight [out, in], of the same dtype
 * @returns [..., out]
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function linear(x: Tensor, weight: Tensor, options: LinearOptions = {}): FloatTensor {
  const op = 'linear';
  checkOptions(op, options, ['bias']);
  const { bias } = options;
  checkFloat(op, 'x', x);
  checkFloat(op, 'weight', weight);
  if (bias !== undefined) checkFloat(op, 'bias', bias);
  checkAlike(op, 'x', { x, weight, bias });
  const depth = x.shape.at(-1)!;
  if (weight.rank !== 2 || weight.shape[1] !== depth) {
    throw new ArgumentError(
      `${op}: weight must be [out, ${depth}] to match x's rows, got ${formatShape(weight.shape)}`,
    );
  }
  const columns = weight.shape[0];
  if (bias && (bias.rank !== 1 || bias.shape[0] !== columns)) {
    throw new ArgumentError(`${op}: bias must have shape [${columns}], got ${formatShape(bias.shape)}`);
  }
  const output = noGrad(() =>
    x.device.scope(() => {
      const rows = x.rank === 1 ? x.reshape([1, depth]) : x;
      const result = product(op, rows, weight.transpose(), { bias: bias && contiguous(bias) });
      return x.rank === 1 ? result.reshape([columns]) : result;
    }),
  );
  recordProduct(op, { a: x, b: weight, bias }, output, { a: false, b: true });
  return output;
}
