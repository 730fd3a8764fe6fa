import { noGrad } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { planOptimiserStep, SETTINGS, type UpdateProblem } from '../kernels/optimiser.ts';
import { cast, clone, concat } from '../ops/copy.ts';
import { copyWords } from '../ops/internal/copy.ts';
import { checkState, type StateDict, type StateEntry } from '../modules/load-state.ts';
import type { Device } from '../tensor/device.ts';
import { rowPitch, storageSize } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { flatGradient } from './gradients.ts';
import { checkAmount } from './parameters.ts';

/** What distinguishes an optimiser. */
export interface Rule {
  /** Decay rates that the bias corrections use; 0 if there is none. */
  readonly betas: readonly [number, number];
  /** The moments that are kept for each parameter, by torch's names. */
  readonly memories: readonly string[];
  /**
   * Records the update of one parameter.
   *
   * @param lr the group's learning rate
   * @param tensors the kernel's `gradient`, `settings`, `weights` and `halves`
   * @param memories in the order of their names
   */
  update(
    problem: UpdateProblem,
    tensors: Readonly<Record<string, Tensor | undefined>>,
    memories: readonly Tensor[],
    device: Device,
    lr: number,
  ): void;
}

/** Parameters that are updated alike. */
export interface OptimiserGroup {
  readonly named: ReadonlyMap<string, Tensor>;
  readonly lr: number;
  readonly rule: Rule;
}

/** A group of an optimiser's parameters. */
export interface LearningRate {
  /** The group's learning rate; assign another between steps. */
  lr: number;
}

/** What the GPU found out about the gradients of a step; `GradScaler` makes it. */
export interface GradientCheck {
  /** uint32: element `at` is not 0 if a gradient is not finite, and then nothing may change. */
  readonly found: Tensor;
  readonly at: number;
  /** float32 [1]: the factor by which the gradients are too large. */
  readonly scale?: Tensor;
}

/** float32 of a parameter's shape. If the parameter's rows are padded, so are these, and `view` leaves the padding out. */
interface Stored {
  readonly whole: Tensor;
  readonly view: Tensor;
}

type State = Readonly<Record<string, Stored>>;

interface Group {
  readonly rule: Rule;
  lr: number;
  /** The numbers of its parameters that had a gradient in the last step. */
  present?: { readonly indices: readonly number[]; readonly words: Tensor };
}

interface Slot {
  readonly name: string;
  readonly parameter: FloatTensor;
  readonly index: number;
  readonly group: Group;
  /** The moments, and for float16 the parameter itself in float32. Present after the first gradient. */
  state?: State;
  /** A view of its step. */
  step?: Tensor;
}

const STEP = 'step';
const MASTER = 'master';

/**
 * The base of the optimisers, in the spirit of torch.optim.Optimizer. One kernel updates a parameter in place, in one pass over
 * the parameter, its gradient and its state. The work is enqueued, and nothing waits.
 *
 * Parameters without a gradient are left as they are. The optimiser keeps a float32 copy of each float16 parameter, in which
 * small steps add up, and rounds the parameter from it. If a parameter was changed from outside (by `loadStateDict`), the
 * optimiser continues from its new value.
 */
export abstract class Optimiser {
  /** The class's name, for errors. */
  protected readonly name: string;
  /** @internal The device of the parameters. */
  readonly device: Device;
  readonly #slots: readonly Slot[];
  readonly #groups: readonly Group[];
  /** float32 [parameters]: how many steps each has made. Counted on the GPU, because only the GPU knows of skipped steps. */
  #steps: Tensor;
  /** float32 [parameters, 4]: what the kernel reads about a step. */
  readonly #settings: Tensor;
  #disposed = false;

  constructor(name: string, groups: readonly OptimiserGroup[]) {
    this.name = name;
    for (const { lr } of groups) checkAmount(name, 'lr', lr);
    this.#groups = groups.map(({ rule, lr }) => ({ rule, lr }));
    this.#slots = groups
      .flatMap(({ named }, i) => Array.from(named, ([key, parameter]) => ({ key, parameter, group: this.#groups[i] })))
      .map(({ key, parameter, group }, index) => ({ name: key, parameter: parameter as FloatTensor, index, group }));
    this.device = this.#slots[0].parameter.device;
    this.#steps = this.#keep(() => this.device.zeros([this.#slots.length]));
    this.#settings = this.#keep(() => this.device.zeros([this.#slots.length, SETTINGS]));
  }

  /** The learning rate, of several groups that of the first. Assign another between steps; it is then that of all groups. */
  get lr(): number {
    return this.#groups[0].lr;
  }

  set lr(lr: number) {
    for (const group of this.groups) group.lr = lr;
  }

  /** The groups of parameters, in the order in which they were given, with a learning rate each. */
  get groups(): readonly LearningRate[] {
    const assign = (group: Group, lr: number): void => {
      checkAmount(this.name, 'lr', lr);
      this.#save();
      group.lr = lr;
    };
    return this.#groups.map((group) => ({
      get lr() {
        return group.lr;
      },
      set lr(lr) {
        assign(group, lr);
      },
    }));
  }

  /** Updates every parameter that has a gradient. */
  step(): void {
    this.apply();
  }

  /** Drops the gradients of all parameters. */
  zeroGrad(): void {
    for (const { parameter } of this.#slots) if (!parameter.disposed) parameter.grad = undefined;
  }

  /**
   * The state of the parameters that had a gradient, by name: torch's `step.<parameter>` [1], `exp_avg.<parameter>` and the
   * like, and `master.<parameter>`, a float16 parameter in float32. All are float32, and `saveSafetensors` takes them. These
   * are the tensors themselves. Do not dispose them. The next `loadStateDict` or `dispose` does.
   */
  stateDict(): Record<string, Tensor> {
    this.#assertAlive('stateDict');
    const state: Record<string, Tensor> = {};
    for (const slot of this.#slots) {
      for (const key of this.#keysOf(slot)) {
        const tensor = key === STEP ? slot.step : slot.state?.[key].view;
        if (tensor) state[`${key}.${slot.name}`] = tensor;
      }
    }
    return state;
  }

  /**
   * Copies the state dict of an optimiser of the same kind and parameters. A parameter without an entry starts again. The
   * caller still owns the given tensors. Load the parameters themselves too, because they are not in the dict.
   *
   * @throws LoadError that lists the first keys that are missing or unexpected or have a wrong shape; the optimiser is then as before
   */
  loadStateDict(dict: StateDict): void {
    const call = `${this.name}.loadStateDict`;
    this.#assertAlive('loadStateDict');
    checkState(call, dict, this.#entries());
    this.#save();
    noGrad(() => {
      // make everything new before disposing anything old, because memory may run out
      const { steps, states } = this.device.scope(() => {
        const made = this.device.zeros([this.#slots.length]);
        return {
          steps: made,
          states: this.#slots.map((slot) => {
            const keys = this.#keysOf(slot).filter((key) => Object.hasOwn(dict, `${key}.${slot.name}`));
            if (keys.length === 0) return undefined;
            const given = (key: string): Tensor => dict[`${key}.${slot.name}`];
            if (keys.includes(STEP)) copyWords(call, given(STEP), made, slot.index);
            return this.#stateOf(slot, keys, given);
          }),
        };
      });
      this.device.keep(steps);
      this.#steps.dispose();
      this.#steps = steps;
      this.#slots.forEach((slot, i) => {
        this.#forget(slot);
        const state = states[i];
        if (state) this.#remember(slot, state);
      });
    });
  }

  /** Frees the state, but not the parameters, which have other owners. Calling it again does nothing. */
  dispose(): void {
    this.#save();
    this.#disposed = true;
    for (const slot of this.#slots) this.#forget(slot);
    this.#steps.dispose();
    this.#settings.dispose();
    for (const { present } of this.#groups) present?.words.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal The parameters that have a gradient. */
  parametersWithGradient(call: string): FloatTensor[] {
    this.#assertAlive('step');
    return this.#withGradient(call).map(({ parameter }) => parameter);
  }

  /** @internal A step that the GPU may skip. */
  apply(check?: GradientCheck): void {
    const op = `${this.name}.step`;
    this.#assertAlive('step');
    const slots = this.#withGradient(op);
    if (slots.length === 0) return;
    this.#save();
    noGrad(() =>
      this.device.scope(() => {
        for (const slot of slots) if (!slot.state) this.#begin(slot);
        const gradients = slots.map(({ parameter }) => flatGradient(op, parameter));
        for (const group of this.#groups) {
          const own = slots.filter((slot) => slot.group === group);
          if (own.length > 0) this.#enqueueStep(op, group, own, check);
        }
        slots.forEach((slot, i) => this.#update(op, slot, gradients[i]));
      }),
    );
  }

  #save(): void {
    this.device.beforeChange(this, () => {
      const [steps, disposed] = [this.#steps, this.#disposed];
      const groups = this.#groups.map(({ lr, present }) => ({ lr, present }));
      const states = this.#slots.map(({ state, step }) => ({ state, step }));
      return () => {
        this.#steps = steps;
        this.#disposed = disposed;
        for (const [i, group] of this.#groups.entries()) Object.assign(group, groups[i]);
        for (const [i, slot] of this.#slots.entries()) Object.assign(slot, states[i]);
      };
    });
  }

  #enqueueStep(op: string, group: Group, slots: readonly Slot[], check: GradientCheck | undefined): void {
    const { lr, rule } = group;
    const { betas } = rule;
    const problem = { op, count: slots.length, lr, betas, foundAt: check?.at, isScaled: !!check?.scale };
    this.device.dispatch(op, planOptimiserStep(problem, this.device.traits), {
      present: this.#wordsOf(op, group, slots),
      found: check?.found,
      scale: check?.scale,
      steps: this.#steps,
      settings: this.#settings,
    });
    this.#steps.changed();
  }

  #update(op: string, slot: Slot, gradient: Tensor): void {
    const { parameter, index } = slot;
    const { rule, lr } = slot.group;
    const { dtype, shape } = parameter;
    const state = slot.state!;
    const isHalf = dtype === 'float16';
    rule.update(
      { op, dtype, size: storageSize(shape, dtype), parameter: index },
      {
        gradient,
        settings: this.#settings,
        weights: isHalf ? state[MASTER].whole : parameter,
        halves: isHalf ? parameter : undefined,
      },
      rule.memories.map((key) => state[key].whole),
      this.device,
      lr,
    );
    parameter.changed();
    for (const { whole } of Object.values(state)) whole.changed();
  }

  #withGradient(call: string): Slot[] {
    for (const { name, parameter } of this.#slots) {
      if (parameter.disposed) throw new ArgumentError(`${call}: parameter '${name}' must not be disposed`);
    }
    return this.#slots.filter(({ parameter }) => parameter.grad !== undefined);
  }

  /** Makes the state of a parameter at its first gradient. */
  #begin(slot: Slot): void {
    const { parameter } = slot;
    const nothing = this.device.zeros([1]).expand(parameter.shape);
    const state = this.#stateOf(slot, this.#keysOf(slot), (key) =>
      key === MASTER ? cast(parameter, 'float32') : nothing,
    );
    this.#remember(slot, state);
  }

  #stateOf(slot: Slot, keys: readonly string[], valueOf: (key: string) => Tensor): State {
    const stored = keys.filter((key) => key !== STEP).map((key) => [key, this.#stored(slot, valueOf(key))] as const);
    return Object.fromEntries(stored);
  }

  #remember(slot: Slot, state: State): void {
    for (const { whole, view } of Object.values(state)) {
      this.device.keep(whole);
      this.device.keep(view);
    }
    slot.state = state;
    const { index } = slot;
    if (slot.group.rule.memories.length > 0) slot.step = this.#keep(() => this.#steps.slice(0, index, index + 1));
  }

  #forget(slot: Slot): void {
    for (const { whole, view } of Object.values(slot.state ?? {})) {
      whole.dispose();
      view.dispose();
    }
    slot.step?.dispose();
    slot.state = undefined;
    slot.step = undefined;
  }

  /** A copy, in the scope, of float32 numbers of a parameter's shape, with the parameter's row pitch. */
  #stored({ parameter }: Slot, x: Tensor): Stored {
    const { shape, dtype } = parameter;
    const last = shape.at(-1)!;
    if (rowPitch(last, dtype) === last) {
      const whole = clone(x);
      return { whole, view: whole.detach() };
    }
    const whole = concat(x, this.device.zeros([1]).expand(shape.with(-1, 1)), -1);
    return { whole, view: whole.slice(-1, 0, last) };
  }

  /** The names of what is stored for a parameter. */
  #keysOf({ parameter, group }: Slot): string[] {
    const { memories } = group.rule;
    return [...(memories.length > 0 ? [STEP] : []), ...memories, ...(parameter.dtype === 'float16' ? [MASTER] : [])];
  }

  /** What a state dict may hold: for each parameter all of its entries, or none. */
  #entries(): Map<string, StateEntry> {
    const entries = new Map<string, StateEntry>();
    for (const slot of this.#slots) {
      const { name: group, parameter } = slot;
      for (const key of this.#keysOf(slot)) {
        const shape = key === STEP ? [1] : parameter.shape;
        entries.set(`${key}.${group}`, { device: this.device, shape, dtypes: ['float32'], group });
      }
    }
    return entries;
  }

  /** Cached as long as the same parameters have gradients. */
  #wordsOf(op: string, group: Group, slots: readonly Slot[]): Tensor {
    const indices = slots.map(({ index }) => index);
    const known = group.present;
    if (known && known.indices.length === indices.length && known.indices.every((index, i) => index === indices[i])) {
      return known.words;
    }
    known?.words.dispose();
    const words = this.#keep(() => this.device.words(indices, op));
    group.present = { indices, words };
    return words;
  }

  /** A tensor that outlives the scope that it is made in. */
  #keep(make: () => Tensor): Tensor {
    const tensor = this.device.scope(make);
    this.device.keep(tensor);
    return tensor;
  }

  #assertAlive(method: string): void {
    if (this.#disposed) throw new ArgumentError(`${this.name}.${method}: the optimiser must not be disposed`);
  }
}
