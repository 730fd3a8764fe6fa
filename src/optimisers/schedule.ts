/** Learning rates that change from step to step. */
import { ArgumentError } from '../gpu/errors.ts';
import { checkCount, describe } from '../ops/internal/check.ts';
import { checkOptions } from '../tensor/options.ts';
import { Optimiser } from './optimiser.ts';
import { checkAmount } from './parameters.ts';

/** By what the initial learning rates are multiplied after so many steps. */
export type LearningRateFactor = (step: number) => number;

/**
 * Multiplies the learning rates of an optimiser's groups by a factor of the step, as torch.optim.lr_scheduler.LambdaLR. It sets
 * the rates of step 0 at once. Call `step()` after the optimiser's.
 *
 *     const schedule = new LambdaLR(optimiser, cosineAnnealing({ totalSteps: 1000, warmupSteps: 100 }));
 *
 * `lastStep` is all its state: save it, and assign it to a new schedule of an optimiser with the same initial rates.
 */
export class LambdaLR {
  readonly #optimiser: Optimiser;
  readonly #factor: LearningRateFactor;
  /** The groups' rates before the first step. */
  readonly #initial: readonly number[];
  #lastStep = 0;

  /** @throws ArgumentError for arguments that do not fit */
  constructor(optimiser: Optimiser, factor: LearningRateFactor) {
    const call = 'LambdaLR';
    if (!(optimiser instanceof Optimiser)) {
      throw new ArgumentError(`${call}: optimiser must be an optimiser, got ${describe(optimiser)}`);
    }
    if (typeof factor !== 'function') {
      throw new ArgumentError(`${call}: factor must be a function of the step, got ${describe(factor)}`);
    }
    this.#optimiser = optimiser;
    this.#factor = factor;
    this.#initial = optimiser.groups.map(({ lr }) => lr);
    this.lastStep = 0;
  }

  /** How many steps were made. Assign it to go on from a checkpoint. */
  get lastStep(): number {
    return this.#lastStep;
  }

  set lastStep(step: number) {
    checkCount('LambdaLR', 'lastStep', step, 0);
    const factor = this.#factor(step);
    checkAmount('LambdaLR', `factor of step ${step}`, factor);
    this.#optimiser.device.beforeChange(this, () => {
      const before = this.#lastStep;
      return () => (this.#lastStep = before);
    });
    for (const [i, group] of this.#optimiser.groups.entries()) group.lr = this.#initial[i] * factor;
    this.#lastStep = step;
  }

  /** Counts a step, and sets the learning rates of the next. */
  step(): void {
    this.lastStep = this.#lastStep + 1;
  }
}

/**
 * 1 from the end of the warm-up, down to `finalFactor` after `totalSteps` along half a cosine (SGDR, Loshchilov & Hutter 2017),
 * and that from then on. The warm-up rises linearly from 0.
 *
 * @throws ArgumentError for options that do not fit
 */
export function cosineAnnealing(options: {
  totalSteps: number;
  /** Default 0. */
  warmupSteps?: number;
  /** Default 0. */
  finalFactor?: number;
}): LearningRateFactor {
  const call = 'cosineAnnealing';
  checkOptions(call, options, ['totalSteps', 'warmupSteps', 'finalFactor']);
  const { totalSteps, warmupSteps = 0, finalFactor = 0 } = options;
  checkCount(call, 'totalSteps', totalSteps);
  checkAmount(call, 'finalFactor', finalFactor);
  const warmup = linearWarmup({ warmupSteps });
  if (warmupSteps >= totalSteps) {
    throw new ArgumentError(`${call}: warmupSteps must be below totalSteps ${totalSteps}, got ${warmupSteps}`);
  }
  return (step) => {
    if (step < warmupSteps) return warmup(step);
    const share = Math.min((step - warmupSteps) / (totalSteps - warmupSteps), 1);
    return finalFactor + ((1 - finalFactor) * (1 + Math.cos(Math.PI * share))) / 2;
  };
}

/** From 0 to 1 in `warmupSteps` steps, and 1 from then on. */
export function linearWarmup(options: { warmupSteps: number }): LearningRateFactor {
  const call = 'linearWarmup';
  checkOptions(call, options, ['warmupSteps']);
  const { warmupSteps } = options;
  checkCount(call, 'warmupSteps', warmupSteps, 0);
  return (step) => (step < warmupSteps ? step / warmupSteps : 1);
}

/** Multiplied by `gamma` every `stepSize` steps, as torch's StepLR. */
export function stepDecay(options: {
  stepSize: number;
  /** Default 0.1. */
  gamma?: number;
}): LearningRateFactor {
  const call = 'stepDecay';
  checkOptions(call, options, ['stepSize', 'gamma']);
  const { stepSize, gamma = 0.1 } = options;
  checkCount(call, 'stepSize', stepSize);
  checkAmount(call, 'gamma', gamma);
  return (step) => gamma ** Math.floor(step / stepSize);
}
