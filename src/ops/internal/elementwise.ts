import { record } from '../../autograd/tape.ts';
import { ArgumentError } from '../../gpu/errors.ts';
import {
  ELEMENTWISE,
  planElementwise,
  planElementwiseGradient,
  type ElementwiseOp,
  type ElementwiseRow,
  type OperandName,
} from '../../kernels/elementwise.ts';
import type { Operand } from '../../kernels/launch.ts';
import { operandOf } from '../../kernels/launch.ts';
import type { FloatDType } from '../../tensor/dtype.ts';
import { broadcastShapes, broadcastStrides, formatShape, type Shape } from '../../tensor/shape.ts';
import { looksLikeTensor, Tensor, type FloatTensor } from '../../tensor/tensor.ts';
import { sumTo } from '../sum.ts';
import { checkAlike, checkFloat, describe } from './check.ts';

/** A function of a tensor's elements. */
export function unary(op: ElementwiseOp, x: Tensor, operation = op): FloatTensor {
  checkFloat(op, 'x', x);
  return run(op, operation, x.shape, { x });
}

/** A tensor, or a number that stands for a tensor of one element with the other operand's dtype. */
export type TensorOrNumber = Tensor | number;

/** A function of pairs of elements. `operands` are the two by their names in errors, of which one may be a number. */
export function binary(op: ElementwiseOp, operands: Readonly<Record<string, TensorOrNumber>>): FloatTensor {
  const [[first, x], [second, y]] = Object.entries(operands) as [[string, TensorOrNumber], [string, TensorOrNumber]];
  if (typeof x === 'number' && typeof y === 'number') {
    throw new ArgumentError(`${op}: ${first} or ${second} must be a Tensor, got two numbers`);
  }
  for (const [name, value] of Object.entries(operands)) {
    if (typeof value === 'number') continue;
    if (!(value instanceof Tensor) && !looksLikeTensor(value)) {
      throw new ArgumentError(`${op}: ${name} must be a Tensor or a number, got ${describe(value)}`);
    }
    checkFloat(op, name, value);
  }
  return withTensors([x, y], (a, b) => {
    checkAlike(op, first, { [first]: a, [second]: b });
    const shape = broadcastShapes(a.shape, b.shape);
    if (!shape) {
      throw new ArgumentError(
        `${op}: ${second} must broadcast with ${first}'s shape ${formatShape(a.shape)}, got ${formatShape(b.shape)}`,
      );
    }
    return run(op, op, shape, { x: a, y: b }, { x: first, y: second });
  });
}

/** Calls `work` with the one of two operands that is a number as a tensor [1], which is disposed afterwards. */
export function withTensors<T>(
  [x, y]: readonly [TensorOrNumber, TensorOrNumber],
  work: (x: Tensor, y: Tensor) => T,
): T {
  if (typeof x !== 'number' && typeof y !== 'number') return work(x, y);
  const { device, dtype } = (typeof x === 'number' ? y : x) as FloatTensor;
  const made = device.tensor([(typeof x === 'number' ? x : y) as number], [1], { dtype });
  try {
    return typeof x === 'number' ? work(made, y as Tensor) : work(x, made);
  } finally {
    made.dispose();
  }
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
