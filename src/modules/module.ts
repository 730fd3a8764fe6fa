import { ArgumentError } from '../gpu/errors.ts';
import { checkFloat, describe } from '../ops/internal/check.ts';
import { checkState, copyState, type StateDict, type StateEntry } from './load-state.ts';
import type { Tensor } from '../tensor/tensor.ts';

/**
 * What every module has, in the spirit of torch.nn.Module: tensors and modules of its own, by name.
 *
 *     class Block extends Module {
 *       readonly norm: LayerNorm;
 *       readonly attention: SelfAttention;
 *
 *       constructor(device: Device, embedDim: number) {
 *         super('Block');
 *         this.norm = this.registerModule('norm', new LayerNorm(device, { normalizedShape: embedDim }));
 *         this.attention = this.registerModule('attention', new SelfAttention(device, { embedDim, numHeads: 4 }));
 *       }
 *     }
 */
export abstract class Module {
  /** The class's name, for errors. */
  protected readonly name: string;
  readonly #parameters = new Map<string, Tensor>();
  readonly #modules = new Map<string, Module>();
  #training = true;

  constructor(name: string) {
    this.name = name;
  }

  /** Whether the module is in training mode, as it is at first: attention and `Dropout` drop in that alone. */
  get training(): boolean {
    return this.#training;
  }

  /** Switches to training mode (or, with false, out of it), with all modules inside. */
  train(mode = true): this {
    this.#training = mode;
    for (const module of this.#modules.values()) module.train(mode);
    return this;
  }

  /** Switches to evaluation mode. */
  eval(): this {
    return this.train(false);
  }

  /**
   * Whether gradients are to be found for the module's tensors, as at first they are (with false: as torch's
   * requires_grad_(False), to leave them as they are while others are trained).
   */
  requiresGrad(requires = true): this {
    for (const parameter of this.parameters()) parameter.requiresGrad = requires;
    return this;
  }

  /** The tensors of the module and of those inside, in the order of the state dict, each once; do not dispose them. */
  parameters(): Tensor[] {
    return [...new Set(this.#named().values())];
  }

  /**
   * The same by name, of a module inside with its name and a dot before: `blocks.0.attn.in_proj_weight`. These are the
   * tensors themselves; do not dispose them.
   */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(this.#named());
  }

  /**
   * Copies a state dict into the module's tensors, in place and converted to their dtypes, so that an optimiser which has
   * them goes on. The caller keeps the given tensors.
   *
   * @throws LoadError that lists all missing and unexpected keys and all wrong shapes; the module is then as before
   */
  loadStateDict(dict: StateDict): void {
    const call = `${this.name}.loadStateDict`;
    const named = this.#named();
    const entries = new Map<string, StateEntry>();
    for (const [name, parameter] of named) {
      if (parameter.disposed) throw new ArgumentError(`${call}: the module must not be disposed`);
      const { device, shape } = parameter;
      entries.set(name, { device, shape, dtypes: ['float32', 'float16'] });
    }
    checkState(call, dict, entries);
    copyState(call, dict, named);
  }

  /** Gives up the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.grad = undefined;
  }

  /** Frees the tensors of the module and of those inside. Calling it again does nothing. */
  dispose(): void {
    for (const parameter of this.#parameters.values()) parameter.dispose();
    for (const module of this.#modules.values()) module.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /**
   * Adds a parameter, which from now on requires a gradient; the module owns the tensor, whatever scope it was made in.
   *
   * @param tensor float32 or float16; a tensor of its own, neither a view nor the result of a recorded call
   * @throws ArgumentError for a name that is taken, or such a tensor
   */
  protected register(name: string, tensor: Tensor): void {
    this.#checkName(name);
    checkFloat(this.name, `'${name}'`, tensor);
    if (!tensor.isContiguous || tensor.offset !== 0 || tensor.origin?.isLeaf === false) {
      throw new ArgumentError(
        `${this.name}: '${name}' must be a tensor of its own, got a view or the result of a recorded call`,
      );
    }
    tensor.requiresGrad = true;
    tensor.device.keep(tensor);
    this.#parameters.set(name, tensor);
  }

  /**
   * Adds a module inside this one, which owns it from now on: it is trained, saved, switched and disposed with this one.
   *
   * @param name before those of its tensors in the state dict: `attn`, or `blocks.0` for one of a list
   * @returns the module
   * @throws ArgumentError for a name that is taken, or what is no module
   */
  protected registerModule<T extends Module>(name: string, module: T): T {
    this.#checkName(name);
    if (!(module instanceof Module)) {
      throw new ArgumentError(`${this.name}: '${name}' must be a Module, got ${describe(module)}`);
    }
    this.#modules.set(name, module);
    return module;
  }

  /** A parameter of its own by its name in the state dict. */
  protected parameter(name: string): Tensor | undefined {
    return this.#parameters.get(name);
  }

  #named(): Map<string, Tensor> {
    const named = new Map(this.#parameters);
    for (const [prefix, module] of this.#modules) {
      for (const [name, tensor] of module.#named()) named.set(`${prefix}.${name}`, tensor);
    }
    return named;
  }

  #checkName(name: string): void {
    if (typeof name === 'string' && name !== '' && !this.#parameters.has(name) && !this.#modules.has(name)) return;
    throw new ArgumentError(`${this.name}: a parameter or module must have a name of its own, got ${describe(name)}`);
  }
}
