import { noGrad } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { planGradScaler, planScaleGradient } from '../kernels/optimiser.ts';
import { checkFloat, checkFinite, checkPositive, checkSameDevice, describe } from '../ops/internal/check.ts';
import { cast } from '../ops/copy.ts';
import { multiply } from '../ops/elementwise.ts';
import { checkState, copyState, type StateDict, type StateEntry } from '../modules/load-state.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { flatGradient, ownGradient } from './gradients.ts';
import { Optimiser } from './optimiser.ts';

export interface GradScalerOptions {
  /** The first factor of the loss; default 65536. */
  initScale?: number;
  /** Multiplies the scale after `growthInterval` steps without overflow; more than 1, default 2. */
  growthFactor?: number;
  /** Multiplies the scale after an overflow; between 0 and 1, default 0.5. */
  backoffFactor?: number;
  /** Default 2000. */
  growthInterval?: number;
}

/** The number of optimisers that one scaler can serve between two updates. */
const MOST_OPTIMISERS = 64;

/**
 * Multiplies the loss, so that small gradients do not vanish in float16, as torch.amp.GradScaler (Micikevicius et
 * al., "Mixed precision training", 2018):
 *
 *     scaler.scale(loss).backward();
 *     scaler.step(optimiser);   // divides the gradients; skips the step if one of them is not finite
 *     scaler.update();          // lowers the scale after a skipped step, raises it after many others
 *
 * The GPU decides whether a step is skipped, and nothing waits.
 */
export class GradScaler {
  readonly #device: Device;
  readonly #options: Required<Omit<GradScalerOptions, 'initScale'>>;
  /** float32 [1]. */
  readonly #scale: Tensor;
  /** uint32 [1]: steps since the scale was changed. */
  readonly #streak: Tensor;
  /** uint32 [optimisers]: not 0 if one of the optimiser's gradients was not finite. */
  readonly #found: Tensor;
  /** The optimisers that were unscaled or stepped since the last update. */
  readonly #used = new Map<Optimiser, { readonly at: number; stage: 'unscaled' | 'stepped' }>();

  /** @throws ArgumentError for options that do not fit */
  constructor(device: Device, options: GradScalerOptions = {}) {
    const name = 'GradScaler';
    checkOptions(name, options, ['initScale', 'growthFactor', 'backoffFactor', 'growthInterval']);
    const { initScale = 65536, growthFactor = 2, backoffFactor = 0.5, growthInterval = 2000 } = options;
    checkFinite(name, 'initScale', initScale);
    checkFinite(name, 'growthFactor', growthFactor);
    checkFinite(name, 'backoffFactor', backoffFactor);
    if (initScale <= 0) throw new ArgumentError(`${name}: initScale must be greater than 0, got ${initScale}`);
    if (growthFactor <= 1) throw new ArgumentError(`${name}: growthFactor must exceed 1, got ${growthFactor}`);
    if (backoffFactor <= 0 || backoffFactor >= 1) {
      throw new ArgumentError(`${name}: backoffFactor must lie between 0 and 1, got ${backoffFactor}`);
    }
    checkPositive(name, 'growthInterval', growthInterval);
    if (growthInterval >= 2 ** 32) {
      throw new ArgumentError(`${name}: growthInterval must be less than 2^32, got ${growthInterval}`);
    }
    this.#device = device;
    this.#options = { growthFactor, backoffFactor, growthInterval };
    const made = device.scope(() => ({
      scale: device.tensor([initScale], [1]),
      streak: device.zeros([1], { dtype: 'uint32' }),
      found: device.zeros([MOST_OPTIMISERS], { dtype: 'uint32' }),
    }));
    for (const tensor of Object.values(made)) device.keep(tensor);
    this.#scale = made.scale;
    this.#streak = made.streak;
    this.#found = made.found;
  }

  /**
   * The loss times the scale, in float32: call `backward()` on it before `update()`.
   *
   * @param loss any shape; float32 or float16
   * @returns a tensor of its shape
   */
  scale(loss: Tensor): FloatTensor {
    const call = 'GradScaler.scale';
    this.#assertAlive(call);
    checkFloat(call, 'loss', loss);
    checkSameDevice(call, 'the scaler', this.#scale, 'loss', loss);
    return this.#device.scope(() => multiply(cast(loss, 'float32'), this.#scale));
  }

  /**
   * Divides an optimiser's gradients by the scale now, in place, so that you can change them before its step. This rounds the
   * gradients of float16 parameters to float16, and small ones vanish. To clip, pass the scaler to `clipGradNorm` instead.
   *
   * @throws ArgumentError if it or `step` was called for this optimiser since the last `update()`
   */
  unscale(optimiser: Optimiser): void {
    const call = 'GradScaler.unscale';
    const at = this.#place(call, optimiser);
    if (this.#used.has(optimiser)) {
      const done = this.#used.get(optimiser)!.stage === 'stepped' ? 'step' : 'unscale';
      throw new ArgumentError(
        `${call}: it must be called once between two updates and before step, got it after ${done}`,
      );
    }
    this.#check(call, optimiser, at, true);
    this.#save();
    this.#used.set(optimiser, { at, stage: 'unscaled' });
  }

  /**
   * An optimiser's step with its gradients divided by the scale. If one of them is not finite, neither the optimiser nor its
   * parameters change, and the step does not count.
   *
   * @throws ArgumentError if it was called for this optimiser since the last `update()`
   */
  step(optimiser: Optimiser): void {
    const call = 'GradScaler.step';
    const at = this.#place(call, optimiser);
    const stage = this.#used.get(optimiser)?.stage;
    if (stage === 'stepped') {
      throw new ArgumentError(`${call}: it must be called once between two updates, got it a second time`);
    }
    if (stage === undefined) this.#check(call, optimiser, at, false);
    optimiser.apply({ found: this.#found, at, scale: stage === undefined ? this.#scale : undefined });
    this.#save();
    this.#used.set(optimiser, { at, stage: 'stepped' });
  }

  /** Adapts the scale, after the steps of all optimisers. */
  update(): void {
    this.#assertAlive('GradScaler.update');
    const { growthFactor: growth, backoffFactor: backoff, growthInterval: interval } = this.#options;
    if (this.#used.size === 0) {
      throw new ArgumentError('GradScaler.update: it must come after a step or an unscale, got neither since the last');
    }
    this.#device.dispatch(
      'GradScaler.update',
      planGradScaler({ optimisers: MOST_OPTIMISERS, growth, backoff, interval }),
      {
        scale: this.#scale,
        streak: this.#streak,
        found: this.#found,
      },
    );
    for (const tensor of [this.#scale, this.#streak, this.#found]) tensor.changed();
    this.#save();
    this.#used.clear();
  }

  /** `scale` float32 [1] and `growth_tracker` uint32 [1]. These are the tensors themselves. Do not dispose them. */
  stateDict(): Record<string, Tensor> {
    this.#assertAlive('GradScaler.stateDict');
    return { scale: this.#scale, growth_tracker: this.#streak };
  }

  /**
   * Copies what `stateDict` returned.
   *
   * @throws LoadError for tensors that do not fit; the scaler is then as before
   */
  loadStateDict(dict: StateDict): void {
    const call = 'GradScaler.loadStateDict';
    const own = Object.entries(this.stateDict());
    const entryOf = ({ device, shape, dtype }: Tensor): StateEntry => ({ device, shape, dtypes: [dtype] });
    checkState(call, dict, new Map(own.map(([name, tensor]) => [name, entryOf(tensor)])));
    copyState(call, dict, own);
  }

  /** Frees the scaler's tensors. Calling it again does nothing. */
  dispose(): void {
    for (const tensor of [this.#scale, this.#streak, this.#found]) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal float32 [1]: what the gradients are multiplied by. */
  get scaleTensor(): Tensor {
    return this.#scale;
  }

  #assertAlive(call: string): void {
    if (this.#scale.disposed) throw new ArgumentError(`${call}: the scaler must not be disposed`);
  }

  #save(): void {
    this.#device.beforeChange(this, () => {
      const used = [...this.#used];
      return () => {
        this.#used.clear();
        for (const [optimiser, use] of used) this.#used.set(optimiser, use);
      };
    });
  }

  /** The index of this optimiser in `#found`. */
  #place(call: string, optimiser: Optimiser): number {
    this.#assertAlive(call);
    if (!(optimiser instanceof Optimiser)) {
      throw new ArgumentError(`${call}: optimiser must be an optimiser of this library, got ${describe(optimiser)}`);
    }
    const at = this.#used.get(optimiser)?.at ?? this.#used.size;
    if (at < MOST_OPTIMISERS) return at;
    throw new ArgumentError(
      `${call}: a scaler serves at most ${MOST_OPTIMISERS} optimisers between two updates, got more`,
    );
  }

  /** Notes whether all gradients are finite, and divides them by the scale if `divides` is true. */
  #check(op: string, optimiser: Optimiser, foundAt: number, divides: boolean): void {
    const parameters = optimiser.parametersWithGradient(op);
    for (const parameter of parameters) checkSameDevice(op, 'the scaler', this.#scale, 'optimiser', parameter);
    noGrad(() =>
      this.#device.scope(() => {
        for (const parameter of parameters) {
          const x = divides ? ownGradient(parameter) : flatGradient(op, parameter);
          const { shape, dtype } = x;
          const launch = planScaleGradient(
            { op, shape, dtype, scales: divides ? 'divided' : undefined, foundAt },
            this.#device.traits,
          );
          this.#device.dispatch(op, launch, { x, numbers: this.#scale, found: this.#found });
          if (divides) x.changed();
        }
      }),
    );
  }
}
