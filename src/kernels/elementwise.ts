import shader from '../../shaders/elementwise/elementwise.wgsl';
import gradientShader from '../../shaders/elementwise/gradient.wgsl';
import add from '../../shaders/elementwise/parts/add.wgsl';
import geluTanh from '../../shaders/elementwise/parts/gelu-tanh.wgsl';
import gelu from '../../shaders/elementwise/parts/gelu.wgsl';
import multiply from '../../shaders/elementwise/parts/multiply.wgsl';
import relu from '../../shaders/elementwise/parts/relu.wgsl';
import silu from '../../shaders/elementwise/parts/silu.wgsl';
import swiglu from '../../shaders/elementwise/parts/swiglu.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { replacePart, type Shader } from '../gpu/shader.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';
import type { Limits, Operand } from './launch.ts';
import { quadLaunch } from './rows.ts';

export type OperandName = 'x' | 'y';

interface ElementwiseRow {
  /** Declares value(x, y), gradient_x(g, x, y) and gradient_y(g, x, y). */
  readonly part: Shader;
  /**
   * For each operand, what its gradient reads beside g, the result's gradient: `'x'`, `'y'`, `'xy'`, or `''` for neither.
   * `'g'`: the gradient is g itself, and no kernel is launched.
   */
  readonly gradients: { readonly x: GradientReads; readonly y?: GradientReads };
}

type GradientReads = '' | 'x' | 'y' | 'xy' | 'g';

/** The functions of elements. A new one is a row here and its part. */
export const ELEMENTWISE: Readonly<Record<ElementwiseOp, ElementwiseRow>> = {
  gelu: { part: gelu, gradients: { x: 'x' } },
  geluTanh: { part: geluTanh, gradients: { x: 'x' } },
  silu: { part: silu, gradients: { x: 'x' } },
  relu: { part: relu, gradients: { x: 'x' } },
  add: { part: add, gradients: { x: 'g', y: 'g' } },
  multiply: { part: multiply, gradients: { x: 'y', y: 'x' } },
  swiglu: { part: swiglu, gradients: { x: 'xy', y: 'x' } },
};

export type ElementwiseOp = 'gelu' | 'geluTanh' | 'silu' | 'relu' | 'add' | 'multiply' | 'swiglu';

export interface ElementwiseProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly operation: ElementwiseOp;
  /** Of the output, which is row-major. */
  readonly shape: Shape;
  readonly dtype: FloatDType;
  /** Strides of the output's axes, 0 where broadcast. */
  readonly x?: Operand;
  readonly y?: Operand;
}

export interface ElementwiseGradientProblem extends ElementwiseProblem {
  /** The operand whose gradient is computed; x and y are given where it reads them. */
  readonly of: OperandName;
  /** Of the result. */
  readonly gradient: Operand;
}

const WORKGROUP = 256;
const DEFAULT_PART = 'elementwise/parts/multiply';

/** Pipelines are kept by shader: one object for each op. */
const withPart = new Map<Shader, Map<Shader, Shader>>([
  [shader, new Map()],
  [gradientShader, new Map()],
]);

function shaderOf(base: Shader, operation: ElementwiseOp): Shader {
  const { part } = ELEMENTWISE[operation];
  const known = withPart.get(base)!;
  let own = known.get(part);
  if (!own) known.set(part, (own = replacePart(base, DEFAULT_PART, part)));
  return own;
}

export function planElementwise(problem: ElementwiseProblem, limits: Limits): Launch {
  const { operation, dtype, x, y } = problem;
  return {
    shader: shaderOf(shader, operation),
    constants: { BINARY: y !== undefined, F16: dtype === 'float16' },
    ...quadLaunch(problem, { x, y }, WORKGROUP, limits),
  };
}

export function planElementwiseGradient(problem: ElementwiseGradientProblem, limits: Limits): Launch {
  const { operation, of, dtype, x, y, gradient } = problem;
  return {
    shader: shaderOf(gradientShader, operation),
    constants: { OF_Y: of === 'y', READS_X: x !== undefined, READS_Y: y !== undefined, F16: dtype === 'float16' },
    ...quadLaunch(problem, { x, y, gradient }, WORKGROUP, limits),
  };
}
