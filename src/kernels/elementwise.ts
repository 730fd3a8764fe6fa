import shader from '../../shaders/elementwise/elementwise.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';
import type { Limits, Operand } from './launch.ts';
import { quadLaunch } from './rows.ts';

/** Twin of OP in elementwise.wgsl and elementwise-gradient.wgsl. */
export const OPERATIONS = { gelu: 0, geluTanh: 1, silu: 2, relu: 3, add: 4, multiply: 5, swiglu: 6 } as const;

export type Operation = keyof typeof OPERATIONS;

export interface ElementwiseProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly operation: Operation;
  /** Of the output, which is row-major. */
  readonly shape: Shape;
  readonly dtype: FloatDType;
  /** Strides of the output's axes, 0 where broadcast. */
  readonly x: Operand;
  readonly y?: Operand;
}

const WORKGROUP = 256;

export function planElementwise(problem: ElementwiseProblem, limits: Limits): Launch {
  const { operation, dtype, x, y } = problem;
  return {
    shader,
    constants: { OP: OPERATIONS[operation], F16: dtype === 'float16' },
    ...quadLaunch(problem, { x, y }, WORKGROUP, limits),
  };
}
