import { record } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { type Differentiated, planElementwiseGradient } from '../kernels/elementwise-gradient.ts';
import { planElementwise, type Operation } from '../kernels/elementwise.ts';
import type { Operand } from '../kernels/launch.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import { broadcastShapes, broadcastStrides, formatShape, type Shape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkAlike, checkFloat, describe, type FloatTensor } from './internal/check.ts';
import { enqueue, operandOf } from './internal/enqueue.ts';
import { sumTo } from './sum.ts';

export interface GeluOptions {
  /** `'tanh'` takes the approximation by a tanh; default `'none'`. */
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
export function gelu(x: Tensor, options: GeluOptions = {}): Tensor {
  const op = 'gelu';
  checkOptions(op, options, ['approximate']);
  const { approximate = 'none' } = options;
  if (approximate !== 'none' && approximate !== 'tanh') {
    throw new ArgumentError(`${op}: approximate must be 'none' or 'tanh', got ${describe(approximate)}`);
  }
  return unary(op, approximate === 'tanh' ? 'geluTanh' : 'gelu', x);
}

/**
 * x · sigmoid(x), as torch.nn.functional.silu; −∞ gives 0.
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for a dtype that is not a float
 */
export function silu(x: Tensor): Tensor {
  return unary('silu', 'silu', x);
}

/**
 * max(x, 0), as torch.nn.functional.relu. Its gradient is 0 at 0, and that of the result where x is NaN.
 *
 * @param x any shape; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype, row-major
 * @throws ArgumentError for a dtype that is not a float
 */
export function relu(x: Tensor): Tensor {
  return unary('relu', 'relu', x);
}

/**
 * x + y, broadcast by NumPy's rules.
 *
 * @param x any shape; float32 or float16; any strides
 * @param y of the same dtype, its shape broadcasts with x's
 * @returns a tensor of the common shape and dtype, row-major
 * @throws ArgumentError for shapes or dtypes that do not fit
 */
export function add(x: Tensor, y: Tensor): Tensor {
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
export function multiply(x: Tensor, y: Tensor): Tensor {
  return binary('multiply', { x, y });
}

/**
 * silu(gate) · up, what lies between the projections of a SwiGLU feed-forward block (Shazeer 2020) as in Llama; broadcast
 * by NumPy's rules.
 *
 * @param gate any shape; float32 or float16; any strides
 * @param up of the same dtype, its shape broadcasts with gate's
 * @returns a tensor of the common shape and dtype, row-major
 * @throws ArgumentError for shapes or dtypes that do not fit
 */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  return binary('swiglu', { gate, up });
}

type Activation = 'gelu' | 'geluTanh' | 'silu' | 'relu';

function unary(op: string, operation: Activation, x: Tensor): Tensor {
  checkFloat(op, 'x', x);
  const output = run(op, operation, x.shape, x);
  record({
    op,
    inputs: { x },
    outputs: [output],
    saved: { x },
    backward: ([gradient], saved) => ({ x: derivative(op, operation, gradient!, saved.x) }),
  });
  return output;
}

/** `operands` are two, by their names in errors. */
function binary(op: 'add' | 'multiply' | 'swiglu', operands: Readonly<Record<string, Tensor>>): Tensor {
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
  const output = run(op, op, shape, x, y);
  // the gradient of each factor reads the other; swiglu's of the gate reads both
  const savesX = op === 'swiglu' || (op === 'multiply' && y.requiresGrad);
  const savesY = op !== 'add' && x.requiresGrad;
  const [xShape, yShape] = [x.shape, y.shape];
  record({
    op,
    inputs: { [first]: x, [second]: y },
    outputs: [output],
    saved: { x: savesX ? x : undefined, y: savesY ? y : undefined },
    backward: ([gradient], saved, needs) => ({
      [first]: needs[first] ? sumTo(gradientOfFirst(op, gradient!, saved), xShape) : undefined,
      [second]: needs[second] ? sumTo(gradientOfSecond(op, gradient!, saved), yShape) : undefined,
    }),
  });
  return output;
}

type Operands = Readonly<Record<'x' | 'y', Tensor>>;

function gradientOfFirst(op: 'add' | 'multiply' | 'swiglu', gradient: Tensor, { x, y }: Operands): Tensor {
  if (op === 'add') return gradient;
  return op === 'multiply' ? multiply(gradient, y) : derivative(op, op, gradient, x, y);
}

function gradientOfSecond(op: 'add' | 'multiply' | 'swiglu', gradient: Tensor, { x }: Operands): Tensor {
  if (op === 'add') return gradient;
  return op === 'multiply' ? multiply(gradient, x) : swiglu(x, gradient);
}

function run(op: string, operation: Operation, shape: Shape, x: FloatTensor, y?: Tensor): Tensor {
  const { device, dtype } = x;
  const output = device.empty(shape, dtype, op);
  const problem = { op, operation, shape, dtype, x: repeated(x, shape), y: y && repeated(y, shape) };
  enqueue(op, planElementwise(problem, device.traits), { x, y, output });
  return output;
}

/** The gradient with respect to x, of the result's shape. */
function derivative(op: string, operation: Differentiated, gradient: Tensor, x: Tensor, y?: Tensor): Tensor {
  const { device, shape } = gradient;
  const dtype = gradient.dtype as FloatDType;
  const output = device.empty(shape, dtype, op);
  const operands = { x: repeated(x, shape), y: y && repeated(y, shape), gradient: operandOf(gradient) };
  const launch = planElementwiseGradient({ op, operation, shape, dtype, ...operands }, device.traits);
  enqueue(op, launch, { x, y, gradient, output });
  return output;
}

/** Where the elements of a tensor broadcast to `shape` lie. */
function repeated(tensor: Tensor, shape: Shape): Operand {
  const { strides, offset } = operandOf(tensor);
  return { strides: broadcastStrides(tensor.shape, strides, shape)!, offset };
}
