import { noGrad } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { checkOptions } from '../tensor/options.ts';
import { broadcastShapes, formatShape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkAlike, checkBoolean, checkFloat } from './internal/check.ts';
import { recordProduct } from './internal/matmul-gradient.ts';
import { product } from './internal/product.ts';

export interface MatmulOptions {
  /** Use the transpose of `a`'s last two axes. */
  transposeA?: boolean;
  /** Use the transpose of `b`'s last two axes, as a linear layer does with its weight. */
  transposeB?: boolean;
  /** [N], added to every row. */
  bias?: Tensor;
}

/**
 * Batched matrix product, as torch.matmul for two or more axes: batch axes broadcast by NumPy's rules.
 *
 * @param a [batch…, M, K]; float32 or float16; any strides
 * @param b [batch…, K, N], of the same dtype
 * @returns [batch…, M, N]
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): FloatTensor {
  const op = 'matmul';
  checkOptions(op, options, ['transposeA', 'transposeB', 'bias']);
  const { transposeA = false, transposeB = false, bias } = options;
  checkFloat(op, 'a', a);
  checkFloat(op, 'b', b);
  if (bias !== undefined) checkFloat(op, 'bias', bias);
  checkAlike(op, 'a', { a, b, bias });
  checkBoolean(op, 'transposeA', transposeA);
  checkBoolean(op, 'transposeB', transposeB);
  for (const [name, { rank, shape }] of Object.entries({ a, b })) {
    if (rank < 2) throw new ArgumentError(`${op}: ${name} must have at least two axes, got ${formatShape(shape)}`);
  }
  const output = noGrad(() =>
    a.device.scope(() => {
      const left = transposeA ? a.transpose() : a;
      const right = transposeB ? b.transpose() : b;
      const columns = right.shape.at(-1)!;
      if (left.shape.at(-1) !== right.shape.at(-2)) {
        throw new ArgumentError(
          `${op}: b must have a's depth ${left.shape.at(-1)}, got ${right.shape.at(-2)} ` +
            `(a ${formatShape(left.shape)}, b ${formatShape(right.shape)})`,
        );
      }
      if (!broadcastShapes(left.shape.slice(0, -2), right.shape.slice(0, -2))) {
        throw new ArgumentError(
          `${op}: b's batch axes must broadcast with a's ${formatShape(left.shape.slice(0, -2))}, ` +
            `got ${formatShape(right.shape.slice(0, -2))}`,
        );
      }
      if (bias && (bias.rank !== 1 || bias.shape[0] !== columns)) {
        throw new ArgumentError(`${op}: bias must have shape [${columns}], got ${formatShape(bias.shape)}`);
      }
      return product(op, left, right, { bias: bias && rowOf(bias) });
    }),
  );
  recordProduct(op, { a, b, bias }, output, { a: transposeA, b: transposeB });
  return output;
}

/** The bias as a contiguous row, as kernels read it. */
function rowOf(bias: Tensor): Tensor {
  if (bias.strides[0] === 1 || bias.shape[0] === 1) return bias;
  throw new ArgumentError(`matmul: bias must be contiguous, got a view with stride ${bias.strides[0]}`);
}
