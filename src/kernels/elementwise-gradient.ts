import shader from '../../shaders/elementwise/gradient.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { type ElementwiseProblem, OPERATIONS } from './elementwise.ts';
import type { Limits, Operand } from './launch.ts';
import { quadLaunch } from './rows.ts';

/** Those whose derivative is another function; with respect to x. */
export type Differentiated = 'gelu' | 'geluTanh' | 'silu' | 'relu' | 'swiglu';

export interface ElementwiseGradientProblem extends ElementwiseProblem {
  readonly operation: Differentiated;
  /** Of the result. */
  readonly gradient: Operand;
}

const WORKGROUP = 256;

export function planElementwiseGradient(problem: ElementwiseGradientProblem, limits: Limits): Launch {
  const { operation, dtype, x, y, gradient } = problem;
  return {
    shader,
    constants: { OP: OPERATIONS[operation], F16: dtype === 'float16' },
    ...quadLaunch(problem, { x, y, gradient }, WORKGROUP, limits),
  };
}
