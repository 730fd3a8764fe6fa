import { record } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import {
  ELEMENTWISE,
  planElementwise,
  planElementwiseGradient,
  type ElementwiseOp,
  type ElementwiseRow,
  type OperandName,
} from '../kernels/elementwise.ts';
import type { Operand } from '../kernels/launch.ts';
import { operandOf } from '../kernels/launch.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import { broadcastShapes, broadcastStrides, formatShape, type Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkAlike, checkFloat, describe } from './internal/check.ts';
import { sumTo } from './sum.ts';

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
 * x + y, broadcast by NumPy's rules.
 *
 * @param x any shape; float32 or float16; any strides
 * @param y of the same dtype, its shape broadcasts with x's
 * @returns a tensor of the common shape and dtype, row-major
 * @throws ArgumentError for shapes or dtypes that do not fit
 */
export function add(x: Tensor, y: Tensor): FloatTensor {
  return binary('add', { x, y });
}

/**
 * x · y element by element, broadcast by NumPy's rules.
 *
 * @param x any shape; float32 or float16; any strides
 * @param y of the same dtype, its shape broadcasts with x's
 * @returns a tensor of the common shape and dtype, row-major
 * @throws ArgumentError for shapes or dtypes that do not fit
 */
export function multiply(x: Tensor, y: Tensor): FloatTensor {
  return binary('multiply', { x, y });
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

function unary(op: ElementwiseOp, x: Tensor, operation = op): FloatTensor {
  checkFloat(op, 'x', x);
  return run(op, operation, x.shape, { x });
}

/** `operands` are the two operands by their names in errors. */
function binary(op: ElementwiseOp, operands: Readonly<Record<string, Tensor>>): FloatTensor {
  const [[first, x], [second, y]] = Object.entries(operands) as [[string, Tensor], [string, Tensor]];
  checkFloat(op, first, x);
  checkFloat(op, second, y);
  checkAlike(op, first, operands);
  const shape = broadcastShapes(x.shape, y.shape);
  if (!shape) {
    throw new ArgumentError(
      `${op}: ${second} must broadcast with ${first}'s shape ${formatShape(x.shape)}, got ${formatShape(y.shape)}`,
    );
  }
  return run(op, op, shape, { x, y }, { x: first, y: second });
}

/** Runs the op on checked operands and records its gradient, for which it saves what the table says. */
function run(
  op: string,
  operation: ElementwiseOp,
  shape: Shape,
  operands: Readonly<{ x: Tensor; y?: Tensor }>,
  names: Readonly<Record<OperandName, string>> = { x: 'x', y: 'y' },
): FloatTensor {
  const { x, y } = operands;
  const { device } = x;
  const dtype = x.dtype as FloatDType;
  const output = device.empty(shape, dtype, op);
  const problem = { op, operation, shape, dtype, x: repeated(x, shape), y: repeated(y, shape) };
  device.dispatch(op, planElementwise(problem, device.traits), { x, y, output });
  const { gradients }: ElementwiseRow = ELEMENTWISE[operation];
  const present = (['x', 'y'] as const).filter((name) => operands[name]);
  const wanted = present.filter((name) => operands[name]!.requiresGrad);
  const read = wanted.map((name) => gradients[name]).join('');
  const shapes = { x: x.shape, y: y?.shape };
  record({
    op,
    inputs: Object.fromEntries(present.map((name) => [names[name], operands[name]])),
    outputs: [output],
    saved: { x: read.includes('x') ? x : undefined, y: read.includes('y') ? y : undefined },
    backward: ([gradient], saved, needs) =>
      Object.fromEntries(
        present
          .filter((name) => needs[names[name]])
          .map((name) => [names[name], sumTo(derivative(op, operation, name, gradient!, saved), shapes[name]!)]),
      ),
  });
  return output;
}

/** The gradient with respect to one operand, of the result's shape. */
function derivative(
  op: string,
  operation: ElementwiseOp,
  of: OperandName,
  gradient: Tensor,
  saved: Readonly<Partial<Record<OperandName, Tensor>>>,
): Tensor {
  const { gradients }: ElementwiseRow = ELEMENTWISE[operation];
  const reads = gradients[of]!;
  if (reads === 'g') return gradient;
  const { device, shape } = gradient;
  const dtype = gradient.dtype as FloatDType;
  const output = device.empty(shape, dtype, op);
  const x = reads.includes('x') ? saved.x : undefined;
  const y = reads.includes('y') ? saved.y : undefined;
  const places = { x: repeated(x, shape), y: repeated(y, shape), gradient: operandOf(gradient) };
  const launch = planElementwiseGradient({ op, operation, of, shape, dtype, ...places }, device.traits);
  device.dispatch(op, launch, { x, y, gradient, output });
  return output;
}

/** Where the elements of a tensor broadcast to `shape` lie. */
function repeated(tensor: Tensor | undefined, shape: Shape): Operand | undefined {
  if (!tensor) return undefined;
  const { strides, offset } = operandOf(tensor);
  return { strides: broadcastStrides(tensor.shape, strides, shape)!, offset };
}
