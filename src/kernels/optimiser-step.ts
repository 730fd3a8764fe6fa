import shader from '../../shaders/optimiser/step.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { foldWorkgroups, type Limits } from './launch.ts';

export interface OptimiserStepProblem {
  /** The call's name, for errors. */
  readonly op: string;
  /** Parameters with a gradient. */
  readonly count: number;
  readonly lr: number;
  /** Of the bias corrections 1 − βᵗ; 0 where there is none. */
  readonly betas: readonly [number, number];
  /** Where the gradients were checked, if they were. */
  readonly foundAt?: number;
  /** They are too large by the scale of the loss. */
  readonly isScaled: boolean;
}

/** Floats of a parameter's settings. */
export const SETTINGS = 4;

const WORKGROUP = 64;
/** Stands for log 0: its exponential is 0. */
const LOWEST = -1000;

export function planOptimiserStep(problem: OptimiserStepProblem, limits: Limits): Launch {
  const { op, count, lr, betas, foundAt, isScaled } = problem;
  const [beta1, beta2] = betas.map((beta) => Math.max(Math.log(beta), LOWEST));
  return {
    shader,
    constants: {},
    params: {
      count,
      found_at: foundAt ?? 0,
      is_checked: foundAt === undefined ? 0 : 1,
      is_scaled: isScaled ? 1 : 0,
      rate: lr,
      log_beta1: beta1,
      log_beta2: beta2,
    },
    workgroups: foldWorkgroups(op, Math.ceil(count / WORKGROUP), limits),
  };
}
