import { ArgumentError } from '../gpu/errors.ts';
import { checkFloat, describe } from '../ops/internal/check.ts';
import { checkState, copyState, type StateDict, type StateEntry } from './load-state.ts';
import { listFacts } from '../tensor/print.ts';
import type { Tensor } from '../tensor/tensor.ts';

/**
 * The base of every module, in the spirit of torch.nn.Module. It holds tensors and inner modules by name.
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
  #disposed = false;

  constructor(name: string) {
    this.name = name;
  }

  /** Whether the module is in training mode, as it is at first. Attention and `Dropout` drop only in that mode. */
  get training(): boolean {
    return this.#training;
  }

  /** Switches this module and all inner modules to training mode, or with false out of it. */
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
   * Says whether the module's tensors require gradients, as they do at first. False freezes the module, like torch's
   * requires_grad_(False).
   */
  requiresGrad(requires = true): this {
    for (const parameter of this.parameters()) parameter.requiresGrad = requires;
    return this;
  }

  /** The tensors of this and all inner modules, in the order of the state dict, each once. Do not dispose them. */
  parameters(): Tensor[] {
    return [...new Set(this.#named().values())];
  }

  /**
   * The same tensors by name. The names of inner modules are prefixes: `blocks.0.attn.in_proj_weight`. These are the
   * tensors themselves. Do not dispose them.
   */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(this.#named());
  }

  /**
   * Copies a state dict into the module's tensors, in place and converted to their dtypes. An optimiser of these tensors
   * stays valid. The caller still owns the given tensors.
   *
   * @throws LoadError that lists the first keys that are missing or unexpected or have a wrong shape; the module is then as before
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

  /** Drops the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.grad = undefined;
  }

  /** Frees the tensors of this and all inner modules. Calling it again does nothing. */
  dispose(): void {
    this.#disposed = true;
    for (const parameter of this.#parameters.values()) parameter.dispose();
    for (const module of this.#modules.values()) module.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /**
   * The tree of modules, as PyTorch prints it: each with its options, and inner modules below it by their names. Numbered
   * modules that print alike are one entry, `(blocks.0-5): 6 × Block(…)`.
   */
  toString(): string {
    return #modules in this ? this.#print(new Set()) : 'Module';
  }

  /** What consoles of Node, Bun and Deno print, instead of all fields. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  /**
   * What a print of the module says of it besides its name and its inner modules, as torch's extra_repr: override it to show
   * options. Facts that are undefined are left out.
   *
   *     protected override extraRepr() {
   *       return { embedDim: this.embedDim };
   *     }
   */
  protected extraRepr(): Readonly<Record<string, unknown>> {
    return {};
  }

  /**
   * Adds a parameter, which from now on requires a gradient. The module owns the tensor, whatever scope it was made in.
   *
   * @param tensor float32 or float16; neither a view nor the result of a recorded call
   * @throws ArgumentError for a name that is taken, or a tensor that does not fit
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

  /** Adds parameters by their names. */
  protected registerAll(tensors: Iterable<readonly [name: string, tensor: Tensor]>): void {
    for (const [name, tensor] of tensors) this.register(name, tensor);
  }

  /**
   * Adds an inner module, which this one owns from now on: both are trained, saved, switched and disposed together.
   *
   * @param name prefix of its tensors' names in the state dict: `attn`, or `blocks.0` for one of a list
   * @returns the inner module
   * @throws ArgumentError for a name that is taken, or a value that is not a module
   */
  protected registerModule<T extends Module>(name: string, module: T): T {
    this.#checkName(name);
    if (!(module instanceof Module)) {
      throw new ArgumentError(`${this.name}: '${name}' must be a Module, got ${describe(module)}`);
    }
    this.#modules.set(name, module);
    return module;
  }

  /** One of this module's own parameters, by its name in the state dict. */
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

  /** @param around the modules that this one is inside of, which one that was registered in a circle would lead back to */
  #print(around: ReadonlySet<Module>): string {
    if (around.has(this)) return `${this.name}(…)`;
    let facts = '';
    try {
      facts = listFacts(this.extraRepr());
    } catch (error) {
      facts = `extraRepr() threw ${String(error)}`; // a print must not throw
    }
    if (this.#disposed) facts = facts ? `${facts}, disposed` : 'disposed';
    if (this.#modules.size === 0) return `${this.name}(${facts})`;
    const within = new Set(around).add(this);
    const inner = [...this.#modules].map(([name, module]) => ({ name, text: module.#print(within) }));
    const lines = [...(facts ? [facts] : []), ...joinAlike(inner)];
    return `${this.name}(\n  ${lines.join('\n').replaceAll('\n', '\n  ')}\n)`;
  }

  #checkName(name: string): void {
    if (typeof name === 'string' && name !== '' && !this.#parameters.has(name) && !this.#modules.has(name)) return;
    throw new ArgumentError(`${this.name}: a parameter or module must have a name of its own, got ${describe(name)}`);
  }
}

/** The entries of inner modules. Those whose names count on from one to the next and that print alike share one. */
function joinAlike(modules: readonly { readonly name: string; readonly text: string }[]): string[] {
  const runs: { prefix: string; first: number; count: number; name: string; text: string }[] = [];
  for (const { name, text } of modules) {
    const [, prefix = name, digits] = /^(.*?)(\d+)$/s.exec(name) ?? [];
    const number = digits === undefined ? NaN : Number(digits);
    const run = runs.at(-1);
    if (run && run.text === text && run.prefix === prefix && run.first + run.count === number) run.count++;
    else runs.push({ prefix, first: number, count: 1, name, text });
  }
  return runs.map(({ first, count, name, text }) =>
    count === 1 ? `(${name}): ${text}` : `(${name}-${first + count - 1}): ${count} × ${text}`,
  );
}
