import { ArgumentError, LoadError } from '../gpu/errors.ts';
import { cast, clone } from '../ops/copy.ts';
import { describe } from '../ops/check.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { formatShape } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';

export type StateDict = Readonly<Record<string, Tensor>>;

/** What every attention module has, in the spirit of torch.nn.Module. */
export abstract class Module {
  /** The class's name, for errors. */
  protected readonly name: string;
  readonly #parameters = new Map<string, Tensor>();
  #training = true;

  constructor(name: string) {
    this.name = name;
  }

  /** Whether the module is in training mode, as it is at first. */
  get training(): boolean {
    return this.#training;
  }

  /** Switches to training mode (or, with false, out of it). */
  train(mode = true): this {
    this.#training = mode;
    return this;
  }

  /** Switches to evaluation mode. */
  eval(): this {
    return this.train(false);
  }

  /** The module's own tensors, in the order of the state dict; do not dispose them. */
  parameters(): Tensor[] {
    return [...this.#parameters.values()];
  }

  /** The module's own tensors by name; do not dispose them. */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(this.#parameters);
  }

  /**
   * Copies a state dict into the module, converted to its dtype. The caller keeps the given tensors.
   *
   * @throws LoadError that lists all missing and unexpected keys and all wrong shapes; the module is then as before
   */
  loadStateDict(dict: StateDict): void {
    const [first] = this.#parameters.values();
    if (first?.disposed) throw new ArgumentError(`${this.name}.loadStateDict: the module must not be disposed`);
    const problems: string[] = [];
    for (const [key, parameter] of this.#parameters) {
      if (!Object.hasOwn(dict, key)) {
        problems.push(`'${key}' is missing`);
        continue;
      }
      const given = dict[key];
      if (!(given instanceof Tensor)) {
        problems.push(`'${key}' must be a Tensor, got ${describe(given)}`);
      } else if (given.disposed) {
        problems.push(`'${key}' must not be disposed`);
      } else if (formatShape(given.shape) !== formatShape(parameter.shape)) {
        problems.push(`'${key}' must have shape ${formatShape(parameter.shape)}, got ${formatShape(given.shape)}`);
      } else if (given.dtype !== 'float32' && given.dtype !== 'float16') {
        problems.push(`'${key}' must be float32 or float16, got ${given.dtype}`);
      } else if (given.device !== parameter.device) {
        problems.push(`'${key}' must be on the module's device`);
      }
    }
    for (const key of Object.keys(dict)) if (!this.#parameters.has(key)) problems.push(`'${key}' is unexpected`);
    if (problems.length > 0) throw new LoadError(`${this.name}.loadStateDict: ${problems.join('; ')}`);

    if (!first) return;
    const loaded = first.device.scope(() =>
      [...this.#parameters].map(([key, parameter]) => [key, owned(dict[key], parameter.dtype as FloatDType)] as const),
    );
    for (const [key, tensor] of loaded) {
      this.#parameters.get(key)!.dispose();
      this.register(key, tensor);
    }
  }

  /** Frees the module's tensors. Calling it again does nothing. */
  dispose(): void {
    for (const parameter of this.#parameters.values()) parameter.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Sets a parameter; the module owns the tensor from now on, whatever scope it was made in. */
  protected register(name: string, tensor: Tensor): void {
    tensor.device.keep(tensor);
    this.#parameters.set(name, tensor);
  }

  /** A parameter by its name in the state dict. */
  protected parameter(name: string): Tensor | undefined {
    return this.#parameters.get(name);
  }
}

/** A copy in the given dtype that shares nothing with the tensor. */
function owned(tensor: Tensor, dtype: FloatDType): Tensor {
  return tensor.dtype === dtype ? clone(tensor) : cast(tensor, dtype);
}
