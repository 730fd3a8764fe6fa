/**
 * The tape: what was computed from what, and the walk back through it (reverse-mode differentiation; Griewank & Walther,
 * "Evaluating derivatives", 2008; in the manner of torch.autograd).
 *
 *     forward    an op computes y from x, w and calls `record`     a Step: { inputs: slots of x, w; outputs: slot of y }
 *     backward   y's slot receives dL/dy; the step turns it into dL/dx and dL/dw and hands those to their slots
 *
 * A Slot gathers the gradient of one tensor. A leaf's gradient is kept as `tensor.grad`; any other is passed on and freed.
 * Steps are walked newest first, so that a slot has received its whole gradient before its step runs.
 *
 * Nothing here waits for garbage collection. A slot is held by its tensor and by the steps that read it. A step, with the
 * tensors that it saved, is freed with the last of its outputs' slots, or as soon as it has been walked.
 */
import { ArgumentError } from '../gpu/errors.ts';
import type { Device } from '../tensor/device.ts';
import type { DType } from '../tensor/dtype.ts';
import { refuseDeferred } from '../tensor/options.ts';
import { formatShape, type Shape } from '../tensor/shape.ts';
import { otherThanTensor, Tensor, type Origin, type Tape, type ViewStep } from '../tensor/tensor.ts';

/** The gradient of positions from `start` on along an axis; it is 0 elsewhere. */
export interface PartGradient {
  readonly part: Tensor;
  readonly axis: number;
  readonly start: number;
}

export type Gradient = Tensor | PartGradient;

/** What the tape computes with. The ops that implement it are above the tape. */
export interface Arithmetic {
  /** target += x, in place; target is contiguous, or a slice of a contiguous tensor. */
  readonly accumulate: (target: Tensor, x: Tensor) => void;
  /** Sum over the axes along which `shape` was broadcast to x's. */
  readonly sumTo: (x: Tensor, shape: Shape) => Tensor;
  /** A row-major copy. */
  readonly clone: (x: Tensor) => Tensor;
  /** The same elements in another shape, copied if no view can show them. */
  readonly reshape: (x: Tensor, shape: Shape) => Tensor;
}

type Tensors = Readonly<Record<string, Tensor | undefined>>;

/** A call to record. */
export interface Call<Input extends string, Saved extends Tensors> {
  readonly op: string;
  readonly inputs: Readonly<Record<Input, Tensor | undefined>>;
  readonly outputs: readonly Tensor[];
  /** What `backward` reads. Held until it has run, even if the caller disposes it. May include results of the call. */
  readonly saved?: Saved;
  /** Why this call has no gradient: thrown by a `backward()` that would need it. */
  readonly refusal?: string;
  /**
   * Gradients of the inputs that `needs` names (others are ignored), from those of the outputs, which are undefined for an
   * output that was not used. Runs unrecorded, in its own scope. May return its arguments, views, and expanded tensors.
   */
  backward(
    this: void,
    gradients: readonly (Tensor | undefined)[],
    saved: Saved,
    needs: Readonly<Record<Input, boolean>>,
  ): Readonly<Partial<Record<Input, Gradient | undefined>>>;
}

let isOff = false;

/**
 * Runs `work` without recording: its results require no gradient, and nothing is kept for `backward`. Like torch.no_grad.
 *
 * @throws ArgumentError if `work` is async
 */
export function noGrad<T>(work: () => T): T {
  const before = isOff;
  isOff = true;
  try {
    return refuseDeferred('noGrad', work());
  } finally {
    isOff = before;
  }
}

/** Whether a call on these inputs must be recorded, and so has to save what its gradient reads. */
export function records(...inputs: readonly (Tensor | undefined)[]): boolean {
  return !isOff && inputs.some((input) => input?.requiresGrad);
}

/** Records a call, so that gradients of its outputs flow to its inputs. Does nothing if no input requires a gradient. */
export function record<Input extends string, Saved extends Tensors>(call: Call<Input, Saved>): void {
  const inputs: Tensors = call.inputs;
  if (!records(...Object.values(inputs))) return;
  const step = new Step(call);
  for (const [i, output] of call.outputs.entries()) output.origin = step.outputs[i];
}

/** Gathers the gradient of one tensor. */
class Slot implements Origin {
  readonly step: Step | undefined;
  readonly device: Device;
  readonly shape: Shape;
  readonly dtype: DType;
  #gradient: Tensor | undefined;
  #holders = 0;

  constructor({ device, shape, dtype }: Tensor, step?: Step) {
    this.step = step;
    this.device = device;
    this.shape = shape;
    this.dtype = dtype;
  }

  get isLeaf(): boolean {
    return this.step === undefined;
  }

  get grad(): Tensor | undefined {
    return this.isLeaf ? this.#gathered : undefined;
  }

  set grad(gradient: Tensor | undefined) {
    if (gradient && gradient === this.#gradient) return;
    this.#save();
    this.take()?.dispose();
    this.#gradient = gradient?.hold();
  }

  hold(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders > 0) return;
    this.take()?.dispose();
    this.step?.forget();
  }

  /** Hands the gathered gradient to the caller. */
  take(): Tensor | undefined {
    this.#save();
    const gradient = this.#gradient;
    this.#gradient = undefined;
    return gradient;
  }

  /** Adds a gradient to what was gathered. The caller keeps its handle. */
  receive(gradient: Gradient, arithmetic: Arithmetic): void {
    this.#save();
    const whole = gradient instanceof Tensor ? gradient : undefined;
    if (!this.#gathered && whole) {
      this.#gradient = whole.hold();
      return;
    }
    const { part, axis, start } = whole ? { part: whole, axis: 0, start: 0 } : (gradient as PartGradient);
    this.#own(arithmetic);
    this.device.scope(() => {
      const target = this.#gradient!;
      arithmetic.accumulate(whole ? target : target.slice(axis, start, start + part.shape[axis]), part);
    });
  }

  /**
   * Makes a leaf's gradient fit for the user to keep: nobody else sees it, and it is not part of a larger buffer, which would
   * be kept alive with it.
   */
  settle(arithmetic: Arithmetic): void {
    this.#save();
    const gathered = this.#gathered;
    if (gathered) this.#own(arithmetic, gathered.fillsStorage);
  }

  #save(): void {
    this.device.beforeChange(this, () => {
      const gradient = this.#gradient;
      return () => (this.#gradient = gradient);
    });
  }

  /** The gathered gradient. The user may have disposed a leaf's. */
  get #gathered(): Tensor | undefined {
    return this.#gradient?.disposed ? undefined : this.#gradient;
  }

  /** Makes sure, before a write, that nobody else sees the gathered gradient. */
  #own(arithmetic: Arithmetic, mayStay = true): void {
    const shared = this.#gathered;
    if (mayStay && shared?.isContiguous && shared.isUnshared) return;
    const { device, shape, dtype } = this;
    this.#gradient = device.scope(() => (shared ? arithmetic.clone(shared) : device.zeros(shape, { dtype })).hold());
    shared?.dispose();
  }
}

let nextStep = 0;

/** One recorded call. */
class Step {
  /** Later calls have greater numbers. */
  readonly number = nextStep++;
  readonly op: string;
  readonly outputs: readonly Slot[];
  readonly refusal: string | undefined;
  readonly #inputs: readonly (readonly [name: string, slot: Slot])[];
  readonly #names: readonly string[];
  readonly #backward: Call<string, Tensors>['backward'];
  #saved: Readonly<Record<string, Tensor>> | undefined;
  readonly #versions: ReadonlyMap<Tensor, number>;
  #open: number;

  constructor({ op, inputs, outputs, saved = {}, refusal, backward }: Call<string, Tensors>) {
    this.op = op;
    this.refusal = refusal;
    this.#backward = backward;
    this.#names = Object.keys(inputs);
    this.#inputs = Object.entries(inputs).flatMap(([name, tensor]) =>
      tensor?.origin ? [[name, tensor.origin as Slot] as const] : [],
    );
    for (const [, slot] of this.#inputs) slot.hold();
    const held = Object.entries(saved).flatMap(([name, tensor]) => (tensor ? [[name, tensor.hold()] as const] : []));
    this.#saved = Object.fromEntries(held);
    this.#versions = new Map(held.map(([, tensor]) => [tensor, tensor.version]));
    this.outputs = outputs.map((output) => new Slot(output, this));
    this.#open = outputs.length;
  }

  get inputs(): readonly Slot[] {
    return this.#inputs.map(([, slot]) => slot);
  }

  /** Why it cannot be walked, or undefined. */
  get obstacle(): string | undefined {
    if (!this.#saved) {
      return (
        `backward: every call must be walked once, got ${this.op}'s result a second time, whose saved tensors were ` +
        `freed by an earlier backward(): run the forward pass again, or add the losses and call backward() once`
      );
    }
    if (this.refusal !== undefined) return this.refusal;
    const changed = Object.entries(this.#saved).find(([, tensor]) => tensor.version !== this.#versions.get(tensor));
    if (!changed) return undefined;
    const [name, tensor] = changed;
    return (
      `backward: ${this.op}'s ${name} must be as it was when ${this.op} ran, got a ${tensor.dtype} tensor of ` +
      `${formatShape(tensor.shape)} that was changed in place since, as an optimiser's step does`
    );
  }

  /** Turns the outputs' gradients into the inputs' gradients, and frees what was saved for that. */
  walk(arithmetic: Arithmetic): void {
    const gradients = this.outputs.map((slot) => slot.take());
    const saved = this.#saved!;
    const { device } = this.outputs[0];
    device.beforeChange(this, () => () => (this.#saved = saved));
    this.#saved = undefined;
    try {
      device.scope(() => {
        if (gradients.every((gradient) => gradient === undefined)) return;
        const wanted = new Map(this.#inputs);
        const needs = Object.fromEntries(this.#names.map((name) => [name, wanted.has(name)]));
        const results = this.#backward(gradients, saved, needs);
        for (const [name, slot] of wanted) {
          const result = results[name];
          if (!result) continue;
          this.#check(name, slot, result);
          slot.receive(result, arithmetic);
        }
      });
    } finally {
      for (const gradient of gradients) gradient?.dispose();
      for (const tensor of Object.values(saved)) tensor.dispose();
    }
  }

  /** Notes that one of the outputs cannot be reached any more. Frees the step with the last of them. */
  forget(): void {
    if (--this.#open > 0) return;
    for (const tensor of Object.values(this.#saved ?? {})) tensor.dispose();
    this.#saved = undefined;
    releaseAll(this.#inputs.map(([, slot]) => slot));
  }

  #check(name: string, { shape, dtype }: Slot, gradient: Gradient): void {
    const { shape: got, dtype: gotDType } = gradient instanceof Tensor ? gradient : gradient.part;
    const fits = gradient instanceof Tensor ? formatShape(got) === formatShape(shape) : got.length === shape.length;
    if (fits && gotDType === dtype) return;
    throw new Error(
      `${this.op}: the gradient of ${name} must be ${dtype} ${formatShape(shape)}, got ${gotDType} ${formatShape(got)}`,
    );
  }
}

/** Slots whose release is due. A queue, not recursion: a graph may be deeper than the stack. */
let due: Slot[] | undefined;

function releaseAll(slots: readonly Slot[]): void {
  if (due) {
    due.push(...slots);
    return;
  }
  due = [...slots];
  try {
    for (let slot = due.pop(); slot; slot = due.pop()) slot.release();
  } finally {
    due = undefined;
  }
}

/** All recorded calls that lead to a slot, newest first. */
function stepsBehind(root: Slot): Step[] {
  const found = new Set<Step>();
  const slots = [root];
  for (let slot = slots.pop(); slot; slot = slots.pop()) {
    if (!slot.step || found.has(slot.step)) continue;
    found.add(slot.step);
    slots.push(...slot.step.inputs);
  }
  return [...found].sort((a, b) => b.number - a.number);
}

function leavesOf(steps: readonly Step[], root: Slot): Set<Slot> {
  return new Set([root, ...steps.flatMap((step) => step.inputs)].filter((slot) => slot.isLeaf));
}

/** The tape of a device, which computes with the given ops. */
export function makeTape(arithmetic: Arithmetic): Tape {
  return {
    leaf: (tensor) => new Slot(tensor),
    viewed: (source, view, step) =>
      record({
        op: step.kind,
        inputs: { source },
        outputs: [view],
        backward: ([gradient]) => ({ source: gradientOfView(gradient!, step, arithmetic) }),
      }),
    backward(root, gradient) {
      const slot = checkRoot(root, gradient);
      const steps = stepsBehind(slot);
      for (const { obstacle } of steps) if (obstacle !== undefined) throw new ArgumentError(obstacle);
      noGrad(() =>
        root.device.scope(() => {
          try {
            slot.receive(gradient ?? one(root), arithmetic);
            for (const step of steps) step.walk(arithmetic);
          } finally {
            // after a failed walk, drop the gradients that no step took
            for (const { outputs } of steps) for (const output of outputs) output.take()?.dispose();
          }
          for (const leaf of leavesOf(steps, slot)) leaf.settle(arithmetic);
        }),
      );
    },
  };
}

function gradientOfView(gradient: Tensor, step: ViewStep, { reshape, sumTo }: Arithmetic): Gradient {
  switch (step.kind) {
    case 'reshape':
      return reshape(gradient, step.from);
    case 'expand':
      return sumTo(gradient, step.from);
    case 'transpose':
      return gradient.transpose(...step.axes);
    case 'slice':
      return { part: gradient, axis: step.axis, start: step.start };
  }
}

function checkRoot(root: Tensor, gradient: Tensor | undefined): Slot {
  root.assertAlive('backward');
  if (!root.origin) {
    throw new ArgumentError(
      `backward: the tensor must come from one whose requiresGrad is true, got ${formatShape(root.shape)} without a ` +
        `path to any (work inside noGrad leaves none)`,
    );
  }
  if (gradient === undefined) {
    if (root.size === 1) return root.origin as Slot;
    throw new ArgumentError(
      `backward: gradient must be given for a tensor of more than one element, got none for ${formatShape(root.shape)}`,
    );
  }
  if (!(gradient instanceof Tensor)) {
    throw new ArgumentError(`backward: gradient must be a Tensor, got ${otherThanTensor(gradient)}`);
  }
  gradient.assertAlive('backward');
  if (gradient.device !== root.device) {
    throw new ArgumentError(`backward: gradient must be on the tensor's device, got a tensor of another device`);
  }
  if (gradient.dtype !== root.dtype || formatShape(gradient.shape) !== formatShape(root.shape)) {
    throw new ArgumentError(
      `backward: gradient must be ${root.dtype} ${formatShape(root.shape)} like the tensor, got ${gradient.dtype} ` +
        formatShape(gradient.shape),
    );
  }
  return root.origin as Slot;
}

function one({ device, dtype, shape }: Tensor): Tensor {
  return device.tensor([1], [1], { dtype }).reshape(shape);
}
