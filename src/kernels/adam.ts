import shader from '../../shaders/optimiser/adam.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { foldWorkgroups, type Limits } from './launch.ts';
import { updateGroups, updateParams, type UpdateProblem } from './optimiser.ts';

export interface AdamProblem extends UpdateProblem {
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  /** Times the parameter is added to the gradient. */
  readonly l2: number;
  /** The parameter is multiplied by it. */
  readonly decay: number;
}

export function planAdam(problem: AdamProblem, limits: Limits): Launch {
  const { op, dtype, betas, epsilon, l2, decay } = problem;
  return {
    shader,
    constants: { F16: dtype === 'float16' },
    params: {
      ...updateParams(problem),
      l2,
      decay,
      mean_share: 1 - betas[0],
      square_kept: betas[1],
      square_share: 1 - betas[1],
      epsilon,
    },
    workgroups: foldWorkgroups(op, updateGroups(problem), limits),
  };
}
