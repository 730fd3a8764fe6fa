import { ArgumentError } from '../gpu/errors.ts';
import { planAdam } from '../kernels/optimiser.ts';
import { describe } from '../ops/internal/check.ts';
import { checkOptions } from '../tensor/options.ts';
import { Optimiser, type OptimiserGroup, type Rule } from './optimiser.ts';
import { checkAmount, groupsOf, type OptimiserParameters, type ParameterGroup } from './parameters.ts';

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
   * @param parameters float32 or float16, of one device; by name if the state is to be saved under names; or groups
   *   `{ params, …options }` with options of their own
   * @throws ArgumentError for parameters or options that do not fit
   */
  constructor(parameters: OptimiserParameters | readonly ParameterGroup<AdamOptions>[], options: AdamOptions = {}) {
    super(
      'Adam',
      adamGroups('Adam', parameters, options, 0, ({ weightDecay }) => ({ l2: weightDecay, decay: 1 })),
    );
  }
}

/**
 * Adam with weight decay separate from the gradient (Loshchilov & Hutter 2019), as torch.optim.AdamW. Its state is like
 * `Adam`'s.
 */
export class AdamW extends Optimiser {
  /**
   * @param parameters float32 or float16, of one device; by name if the state is to be saved under names; or groups
   *   `{ params, …options }` with options of their own
   * @throws ArgumentError for parameters or options that do not fit
   */
  constructor(parameters: OptimiserParameters | readonly ParameterGroup<AdamOptions>[], options: AdamOptions = {}) {
    super(
      'AdamW',
      adamGroups('AdamW', parameters, options, 0.01, ({ weightDecay, lr }) => ({ l2: 0, decay: 1 - lr * weightDecay })),
    );
  }
}

const MEMORIES = ['exp_avg', 'exp_avg_sq'];

/** @param decayOf how a group's weights decay at a learning rate */
function adamGroups(
  name: string,
  parameters: OptimiserParameters | readonly ParameterGroup<AdamOptions>[],
  options: AdamOptions,
  defaultDecay: number,
  decayOf: (group: { readonly weightDecay: number; readonly lr: number }) => {
    readonly l2: number;
    readonly decay: number;
  },
): OptimiserGroup[] {
  checkAdam(name, options, defaultDecay); // also where every group has its own
  return groupsOf<AdamOptions>(name, parameters).map(({ named, options: own }) => {
    const { weightDecay, ...rest } = checkAdam(name, { ...options, ...own }, defaultDecay);
    const rule: Rule = {
      betas: rest.betas,
      memories: MEMORIES,
      update: (problem, tensors, [means, squares], device, lr) => {
        const launch = planAdam({ ...problem, ...rest, ...decayOf({ weightDecay, lr }) }, device.traits);
        device.dispatch(problem.op, launch, { ...tensors, means, squares });
      },
    };
    return { named, lr: rest.lr, rule };
  });
}

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
