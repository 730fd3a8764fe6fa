import shader from '../../shaders/optimiser/scale-gradient.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { flatParams, type FlatTensor } from './gradient-norm.ts';
import { foldWorkgroups, type Limits } from './launch.ts';

export interface ScaleGradientProblem extends FlatTensor {
  /** The call's name, for errors. */
  readonly op: string;
  /** By the number or by its inverse; absent: it is only checked. */
  readonly scales?: 'times' | 'divided';
  /** Where it is noted that an element is not finite; absent: it is not checked. */
  readonly foundAt?: number;
}

const WORKGROUP = 256;

export function planScaleGradient(problem: ScaleGradientProblem, limits: Limits): Launch {
  const { op, dtype, scales, foundAt } = problem;
  const params = flatParams(problem);
  return {
    shader,
    constants: {
      F16: dtype === 'float16',
      SCALES: scales !== undefined,
      DIVIDES: scales === 'divided',
      CHECKS: foundAt !== undefined,
    },
    params: { ...params, found_at: foundAt ?? 0 },
    workgroups: foldWorkgroups(op, Math.ceil(params.vectors / WORKGROUP), limits),
  };
}
