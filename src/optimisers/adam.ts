import { ArgumentError } from '../gpu/errors.ts';
import { planAdam } from '../kernels/optimiser.ts';
import { describe } from '../ops/internal/check.ts';
import { checkOptions } from '../tensor/options.ts';
import { Optimiser } from './optimiser.ts';
import { checkAmount, type OptimiserParameters } from './parameters.ts';

export interface AdamOptions {
  /** The learning rate; default 1e-3. */
  lr?: number;
  /** The share of the mean gradient and of the mean square that a step keeps; default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Added to the root of the mean square; default 1e-8. */
  eps?: number;
  /** `Adam` adds weightDecay · parameter to the gradient (default 0); `AdamW` subtracts lr · weightDecay · parameter (0.01). */
  weightDecay?: number;
}

/**
 * Adam (Kingma & Ba 2014), as torch.optim.Adam: weight decay is part of the gradient. State: `step.<parameter>` [1],
 * `exp_avg.<parameter>` and `exp_avg_sq.<parameter>`.
 */
export class Adam extends Optimiser {
  /**
   * @param parameters float32 or float16, of one device; by name if the state is to be saved under names
   * @throws ArgumentError for parameters or options that do not fit
   */
  constructor(parameters: OptimiserParameters, options: AdamOptions = {}) {
    const { weightDecay: l2, ...rest } = checkAdam('Adam', options, 0);
    super('Adam', parameters, rest.lr, {
      betas: rest.betas,
      memories: MEMORIES,
      update: (problem, tensors, [means, squares], device) => {
        const launch = planAdam({ ...problem, ...rest, l2, decay: 1 }, device.traits);
        device.dispatch(problem.op, launch, { ...tensors, means, squares });
      },
    });
  }
}

/**
 * Adam with weight decay separate from the gradient (Loshchilov & Hutter 2019), as torch.optim.AdamW. Its state is like
 * `Adam`'s.
 */
export class AdamW extends Optimiser {
  /**
   * @param parameters float32 or float16, of one device; by name if the state is to be saved under names
   * @throws ArgumentError for parameters or options that do not fit
   */
  constructor(parameters: OptimiserParameters, options: AdamOptions = {}) {
    const { weightDecay, ...rest } = checkAdam('AdamW', options, 0.01);
    super('AdamW', parameters, rest.lr, {
      betas: rest.betas,
      memories: MEMORIES,
      update: (problem, tensors, [means, squares], device) => {
        const launch = planAdam({ ...problem, ...rest, l2: 0, decay: 1 - this.lr * weightDecay }, device.traits);
        device.dispatch(problem.op, launch, { ...tensors, means, squares });
      },
    });
  }
}

const MEMORIES = ['exp_avg', 'exp_avg_sq'];

function checkAdam(name: string, options: AdamOptions, defaultDecay: number) {
  checkOptions(name, options, ['lr', 'betas', 'eps', 'weightDecay']);
  const { lr = 1e-3, betas = [0.9, 0.999], eps: epsilon = 1e-8, weightDecay = defaultDecay } = options;
  checkAmount(name, 'eps', epsilon);
  checkAmount(name, 'weightDecay', weightDecay);
  const isPair = Array.isArray(betas) && betas.length === 2;
  if (!isPair || !betas.every((beta) => typeof beta === 'number' && beta >= 0 && beta < 1)) {
    throw new ArgumentError(`${name}: betas must be two numbers from 0 to below 1, got ${describe(betas)}`);
  }
  return { lr, betas, epsilon, weightDecay };
}
