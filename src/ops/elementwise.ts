import { ArgumentError } from '../gpu/errors.ts';
import { checkOptions } from '../tensor/options.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { describe } from './internal/check.ts';
import { binary, unary, type TensorOrNumber } from './internal/elementwise.ts';

export interface GeluOptions {
  /** `'tanh'` uses the approximation by a tanh; default `'none'`. */
  approximate?: 'none' | 'tanh';
}

/**
 * x · Φ(x), with Φ the normal distribution function (Hendrycks & Gimpel 2016), as torch.nn.functional.gelu; −∞ gives 0.
 * `approximate: 'tanh'`: ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))).
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for a dtype or options that do not fit
 */
export function gelu(x: Tensor, options: GeluOptions = {}): FloatTensor {
  const op = 'gelu';
  checkOptions(op, options, ['approximate']);
  const { approximate = 'none' } = options;
  if (approximate !== 'none' && approximate !== 'tanh') {
    throw new ArgumentError(`${op}: approximate must be 'none' or 'tanh', got ${describe(approximate)}`);
  }
  return unary(op, x, approximate === 'tanh' ? 'geluTanh' : 'gelu');
}

/**
 * x · sigmoid(x), as torch.nn.functional.silu; −∞ gives 0.
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for a dtype that is not a float
 */
export function silu(x: Tensor): FloatTensor {
  return unary('silu', x);
}

/**
 * max(x, 0), as torch.nn.functional.relu. Its gradient at 0 is 0. If x is NaN, it is the gradient of the result.
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for a dtype that is not a float
 */
export function relu(x: Tensor): FloatTensor {
  return unary('relu', x);
}

/**
 * silu(gate) · up, broadcast by NumPy's rules: the step between the projections of a SwiGLU feed-forward block (Shazeer
 * 2020), as in Llama.
 *
 * @param gate any shape; float32 or float16; any strides
 * @param up of the same dtype, its shape broadcasts with gate's
 * @returns a tensor of the common shape and dtype, row-major
 * @throws ArgumentError for shapes or dtypes that do not fit
 */
export function swiglu(gate: Tensor, up: Tensor): FloatTensor {
  return binary('swiglu', { gate, up });
}

/**
 * x + y, broadcast by NumPy's rules.
 *
 * @param x any shape; float32 or float16; any strides; or a number, which is rounded to y's dtype
 * @param y of the same dtype, its shape broadcasts with x's; or a number, if x is a tensor
 * @returns a tensor of the common shape and dtype, row-major
 * @throws ArgumentError for shapes or dtypes that do not fit, or two numbers
 */
export function add(x: TensorOrNumber, y: TensorOrNumber): FloatTensor {
  return binary('add', { x, y });
}

/**
 * x − y, broadcast by NumPy's rules, as torch.sub.
 *
 * @param x any shape; float32 or float16; any strides; or a number, which is rounded to y's dtype
 * @param y of the same dtype, its shape broadcasts with x's; or a number, if x is a tensor
 * @returns a tensor of the common shape and dtype, row-major
 * @throws ArgumentError for shapes or dtypes that do not fit, or two numbers
 */
export function subtract(x: TensorOrNumber, y: TensorOrNumber): FloatTensor {
  return binary('subtract', { x, y });
}

/**
 * x · y element by element, broadcast by NumPy's rules.
 *
 * @param x any shape; float32 or float16; any strides; or a number, which is rounded to y's dtype
 * @param y of the same dtype, its shape broadcasts with x's; or a number, if x is a tensor
 * @returns a tensor of the common shape and dtype, row-major
 * @throws ArgumentError for shapes or dtypes that do not fit, or two numbers
 */
export function multiply(x: TensorOrNumber, y: TensorOrNumber): FloatTensor {
  return binary('multiply', { x, y });
}

/**
 * x / y element by element, broadcast by NumPy's rules, as torch.div.
 *
 * @param x any shape; float32 or float16; any strides; or a number, which is rounded to y's dtype
 * @param y of the same dtype, its shape broadcasts with x's; or a number, if x is a tensor
 * @returns a tensor of the common shape and dtype, row-major
 * @throws ArgumentError for shapes or dtypes that do not fit, or two numbers
 */
export function divide(x: TensorOrNumber, y: TensorOrNumber): FloatTensor {
  return binary('divide', { x, y });
}

/**
 * x to the power y, broadcast by NumPy's rules, as torch.pow. x⁰ and 1ʸ are 1; a negative x with a y that is not whole gives NaN.
 * The gradient of x is 0 where y is 0. That of y is 0 where x is 0 and y is not negative.
 *
 * @param x any shape; float32 or float16; any strides; or a number, which is rounded to y's dtype
 * @param y of the same dtype, its shape broadcasts with x's; or a number, if x is a tensor
 * @returns a tensor of the common shape and dtype, row-major
 * @throws ArgumentError for shapes or dtypes that do not fit, or two numbers
 */
export function power(x: TensorOrNumber, y: TensorOrNumber): FloatTensor {
  return binary('power', { x, y });
}

/**
 * The larger of x and y, broadcast by NumPy's rules, as torch.maximum. NaN on either side gives NaN. Where both are equal, each
 * receives half of the gradient; where one is NaN, each receives all of it.
 *
 * @param x any shape; float32 or float16; any strides; or a number, which is rounded to y's dtype
 * @param y of the same dtype, its shape broadcasts with x's; or a number, if x is a tensor
 * @returns a tensor of the common shape and dtype, row-major
 * @throws ArgumentError for shapes or dtypes that do not fit, or two numbers
 */
export function maximum(x: TensorOrNumber, y: TensorOrNumber): FloatTensor {
  return binary('maximum', { x, y });
}

/**
 * The smaller of x and y, broadcast by NumPy's rules, as torch.minimum. NaN on either side gives NaN. Where both are equal, each
 * receives half of the gradient; where one is NaN, each receives all of it.
 *
 * @param x any shape; float32 or float16; any strides; or a number, which is rounded to y's dtype
 * @param y of the same dtype, its shape broadcasts with x's; or a number, if x is a tensor
 * @returns a tensor of the common shape and dtype, row-major
 * @throws ArgumentError for shapes or dtypes that do not fit, or two numbers
 */
export function minimum(x: TensorOrNumber, y: TensorOrNumber): FloatTensor {
  return binary('minimum', { x, y });
}

/**
 * eˣ, as torch.exp.
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for a dtype that is not a float
 */
export function exp(x: Tensor): FloatTensor {
  return unary('exp', x);
}

/**
 * The natural logarithm, as torch.log: −∞ at 0, NaN below.
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for a dtype that is not a float
 */
export function log(x: Tensor): FloatTensor {
  return unary('log', x);
}

/**
 * The square root, as torch.sqrt: NaN below 0. Its gradient at 0 is infinite.
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for a dtype that is not a float
 */
export function sqrt(x: Tensor): FloatTensor {
  return unary('sqrt', x);
}

/**
 * The hyperbolic tangent, as torch.tanh.
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for a dtype that is not a float
 */
export function tanh(x: Tensor): FloatTensor {
  return unary('tanh', x);
}

/**
 * 1 / (1 + e⁻ˣ), as torch.sigmoid.
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for a dtype that is not a float
 */
export function sigmoid(x: Tensor): FloatTensor {
  return unary('sigmoid', x);
}

/**
 * |x|, as torch.abs. Its gradient at 0 is 0.
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for a dtype that is not a float
 */
export function abs(x: Tensor): FloatTensor {
  return unary('abs', x);
}
