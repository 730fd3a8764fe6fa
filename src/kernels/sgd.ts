import shader from '../../shaders/optimiser/sgd.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { foldWorkgroups, type Limits } from './launch.ts';
import { updateGroups, updateParams, type UpdateProblem } from './optimiser.ts';

export interface SgdProblem extends UpdateProblem {
  /** Times the parameter is added to the gradient. */
  readonly l2: number;
  /** 0: there is no buffer. */
  readonly momentum: number;
  readonly dampening: number;
  readonly nesterov: boolean;
}

export function planSgd(problem: SgdProblem, limits: Limits): Launch {
  const { op, dtype, l2, momentum, dampening, nesterov } = problem;
  return {
    shader,
    constants: { F16: dtype === 'float16' },
    params: {
      ...updateParams(problem),
      l2,
      has_momentum: momentum === 0 ? 0 : 1,
      is_nesterov: nesterov ? 1 : 0,
      momentum,
      share: 1 - dampening,
    },
    workgroups: foldWorkgroups(op, updateGroups(problem), limits),
  };
}
