import { ArgumentError } from '../gpu/errors.ts';
import { planSgd } from '../kernels/optimiser.ts';
import { checkBoolean, checkFinite } from '../ops/internal/check.ts';
import { checkOptions } from '../tensor/options.ts';
import { Optimiser, type Rule } from './optimiser.ts';
import { checkAmount, groupsOf, type OptimiserParameters, type ParameterGroup } from './parameters.ts';

export interface SgdOptions {
  /** The learning rate. */
  lr: number;
  /** The share of the last step's direction that a step keeps; default 0. */
  momentum?: number;
  /** The share of the gradient that is left out of the momentum, except in the first step; default 0. */
  dampening?: number;
  /** Looks ahead along the momentum; default false. */
  nesterov?: boolean;
  /** weightDecay · parameter is added to the gradient; default 0. */
  weightDecay?: number;
}

/**
 * Stochastic gradient descent, as torch.optim.SGD. State with momentum: `step.<parameter>` [1] and
 * `momentum_buffer.<parameter>`.
 */
export class SGD extends Optimiser {
  /**
   * @param parameters float32 or float16, of one device; by name if the state is to be saved under names; or groups
   *   `{ params, …options }` with options of their own
   * @throws ArgumentError for parameters or options that do not fit
   */
  constructor(parameters: OptimiserParameters | readonly ParameterGroup<Partial<SgdOptions>>[], options: SgdOptions) {
    const name = 'SGD';
    checkSgd(name, options);
    super(
      name,
      groupsOf<Partial<SgdOptions>>(name, parameters).map(({ named, options: own }) => {
        const { lr, ...rest } = checkSgd(name, { ...options, ...own });
        const rule: Rule = {
          betas: [0, 0],
          memories: rest.momentum === 0 ? [] : ['momentum_buffer'],
          update: (problem, tensors, [momenta], device) => {
            const launch = planSgd({ ...problem, ...rest }, device.traits);
            device.dispatch(problem.op, launch, { ...tensors, momenta });
          },
        };
        return { named, lr, rule };
      }),
    );
  }
}

function checkSgd(name: string, options: SgdOptions) {
  checkOptions(name, options, ['lr', 'momentum', 'dampening', 'nesterov', 'weightDecay']);
  const { lr, momentum = 0, dampening = 0, nesterov = false, weightDecay = 0 } = options;
  checkAmount(name, 'momentum', momentum);
  checkFinite(name, 'dampening', dampening);
  checkBoolean(name, 'nesterov', nesterov);
  checkAmount(name, 'weightDecay', weightDecay);
  if (nesterov && (momentum === 0 || dampening !== 0)) {
    throw new ArgumentError(
      `${name}: nesterov must come with a momentum and without dampening, got momentum ${momentum} and dampening ${dampening}`,
    );
  }
  return { lr, momentum, dampening, nesterov, l2: weightDecay };
}
