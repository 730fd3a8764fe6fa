import { ArgumentError } from '../gpu/errors.ts';
import { checkBoolean, checkFloat, checkTensor, describe } from '../ops/internal/check.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { DType } from '../tensor/dtype.ts';
import { checkRecord, checkState, copyState, type StateDict, type StateEntry } from './load-state.ts';
import { listFacts } from '../tensor/print.ts';
import type { Tensor } from '../tensor/tensor.ts';

const FLOATS: readonly DType[] = ['float32', 'float16'];

/** Names that `loadStateDict` did not find, and names that it did not know. */
export interface LoadStateDictResult {
  /** Names of tensors that the dict holds under none of their names. */
  readonly missingKeys: readonly string[];
  /** Names of the dict that the module lacks. */
  readonly unexpectedKeys: readonly string[];
}

export interface LoadStateDictOptions {
  /** Whether a missing or an unexpected name is an error; default true. */
  strict?: boolean;
}

export interface BufferOptions {
  /** Whether the buffer is in the state dict; default true. */
  persistent?: boolean;
}

/**
 * The base of every module, in the spirit of torch.nn.Module. It holds tensors and inner modules by name. A module that is
 * an attribute is an inner module, under the attribute's name. Attributes that are private (`#norm`), and modules in an
 * array, need `registerModule` or a `ModuleList`.
 *
 *     class Block extends Module {
 *       readonly norm: LayerNorm;
 *       readonly attention: SelfAttention;
 *
 *       constructor(device: Device, embedDim: number) {
 *         super('Block');
 *         this.norm = new LayerNorm(device, { normalizedShape: embedDim });
 *         this.attention = new SelfAttention(device, { embedDim, numHeads: 4 });
 *       }
 *     }
 */
export abstract class Module {
  /** The class's name, for errors. */
  protected readonly name: string;
  readonly #parameters = new Map<string, Tensor>();
  readonly #buffers = new Map<string, { readonly tensor: Tensor; readonly persistent: boolean }>();
  /** Those of `registerModule`; attributes are found when they are wanted. */
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
    for (const module of Object.values(this.namedModules())) module.#training = mode;
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

  /** The parameters of this and all inner modules, in the order of the state dict, each once. Do not dispose them. */
  parameters(): Tensor[] {
    return Object.values(this.namedParameters());
  }

  /** The parameters by name. One with several names (weight tying) has the first. The names are those of the state dict. */
  namedParameters(): Record<string, Tensor> {
    return this.#firstNames((module) => module.#parameters);
  }

  /** The buffers of this and all inner modules, each once: tensors of the module that are not trained. */
  buffers(): Tensor[] {
    return Object.values(this.namedBuffers());
  }

  /** The buffers by name, also those that are not in the state dict. */
  namedBuffers(): Record<string, Tensor> {
    return this.#firstNames((module) => Array.from(module.#buffers, ([name, { tensor }]) => [name, tensor] as const));
  }

  /** This module under the name `''`, and all inner ones by name (`blocks.0.attn`), each once. */
  namedModules(): Record<string, Module> {
    const named = new Map<Module, string>();
    for (const [name, module] of this.#walk()) if (!named.has(module)) named.set(module, name);
    return Object.fromEntries(Array.from(named, ([module, name]) => [name, module]));
  }

  /** The number of elements of all parameters, each tensor counted once. */
  get numParameters(): number {
    return this.parameters().reduce((sum, { size }) => sum + size, 0);
  }

  /**
   * A parameter of this or an inner module, by its name in the state dict, as torch's get_parameter.
   *
   * @throws ArgumentError if there is none
   */
  getParameter(name: string): Tensor {
    for (const [path, tensor] of this.#tensors((module) => module.#parameters)) if (path === name) return tensor;
    throw new ArgumentError(`${this.name}.getParameter: name must be a parameter's, got ${describe(name)}`);
  }

  /**
   * Makes a parameter of this or an inner module one and the same with another tensor, so that both are trained as one
   * (weight tying). The parameter's own tensor is disposed, and whether the other requires a gradient stays as it is. Do it
   * before an optimiser is made.
   *
   *     model.tieParameter('head.weight', model.getParameter('tokens.weight'));
   *
   * The state dict has the tensor under each name. Disposing any module that holds the tensor frees it.
   *
   * @throws ArgumentError if there is no such parameter, or the tensor has another shape, dtype or device
   */
  tieParameter(name: string, tensor: Tensor): void {
    const call = `${this.name}.tieParameter`;
    const own = this.getParameter(name);
    checkFloat(call, 'tensor', tensor);
    const [got, wanted] = [tensor, own].map(({ shape, dtype }) => `${formatShape(shape)} ${dtype}`);
    if (got !== wanted) throw new ArgumentError(`${call}: tensor must be ${wanted}, got ${got}`);
    if (tensor.device !== own.device) {
      throw new ArgumentError(`${call}: tensor must be on the module's device, got a tensor of another device`);
    }
    checkOwn(call, 'tensor', tensor);
    if (tensor === own) return;
    for (const [, module] of this.#walk()) {
      for (const [key, held] of module.#parameters) if (held === own) module.#parameters.set(key, tensor);
    }
    tensor.device.keep(tensor);
    own.dispose();
  }

  /**
   * Parameters and persistent buffers by name. The names of inner modules are prefixes: `blocks.0.attn.in_proj_weight`. A
   * tied parameter is there under each of its names. These are the tensors themselves. Do not dispose them.
   */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(this.#tensors((module) => module.#state()));
  }

  /**
   * Copies a state dict into the module's tensors, in place and converted to their float dtypes. An optimiser of these tensors
   * stays valid. The caller still owns the given tensors. A tied parameter may be there under any of its names; of several
   * the last is taken.
   *
   * @returns the names that were missing and unexpected, none of them unless `strict` is false
   * @throws LoadError that lists the first keys that are missing, unexpected (both only if `strict`) or have a wrong shape; the
   *   module is then as before
   */
  loadStateDict(dict: StateDict, options: LoadStateDictOptions = {}): LoadStateDictResult {
    const call = `${this.name}.loadStateDict`;
    checkOptions(call, options, ['strict']);
    const { strict = true } = options;
    checkBoolean(call, 'strict', strict);
    checkRecord(call, dict);
    const named = new Map(Object.entries(this.stateDict()));
    const given = new Set([...named].filter(([name]) => Object.hasOwn(dict, name)).map(([, tensor]) => tensor));
    const missingKeys = [...named].filter(([, tensor]) => !given.has(tensor)).map(([name]) => name);
    const unexpectedKeys = Object.keys(dict).filter((name) => !named.has(name));
    const entries = new Map<string, StateEntry>();
    for (const [name, tensor] of named) {
      if (tensor.disposed) throw new ArgumentError(`${call}: the module must not be disposed`);
      const { device, shape, dtype } = tensor;
      if (!Object.hasOwn(dict, name) && (!strict || given.has(tensor))) continue;
      entries.set(name, { device, shape, dtypes: FLOATS.includes(dtype) ? FLOATS : [dtype] });
    }
    const known = strict ? dict : Object.fromEntries(Object.entries(dict).filter(([name]) => named.has(name)));
    checkState(call, known, entries);
    const copies = new Map(Array.from(entries.keys(), (name) => [named.get(name)!, name]));
    copyState(
      call,
      dict,
      Array.from(copies, ([tensor, name]) => [name, tensor] as const),
    );
    return { missingKeys, unexpectedKeys };
  }

  /** Drops the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.grad = undefined;
  }

  /** Frees the tensors of this and all inner modules. Calling it again does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const parameter of this.#parameters.values()) parameter.dispose();
    for (const { tensor } of this.#buffers.values()) tensor.dispose();
    for (const module of this.#children().values()) module.dispose();
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
   * @returns the tensor
   * @throws ArgumentError for a name that is taken, or a tensor that does not fit
   */
  protected register<T extends Tensor>(name: string, tensor: T): T {
    this.#checkName(name);
    checkFloat(this.name, `'${name}'`, tensor);
    checkOwn(this.name, `'${name}'`, tensor);
    this.#parameters.set(name, tensor);
    return adopt(tensor, true);
  }

  /**
   * Adds a tensor that is not trained, as torch's register_buffer: running statistics, tables, masks. It is saved and loaded
   * with the parameters unless `persistent` is false. The module owns it, whatever scope it was made in.
   *
   * @param tensor of any dtype; neither a view nor the result of a recorded call
   * @returns the tensor
   * @throws ArgumentError for a name that is taken, or a tensor that does not fit
   */
  protected registerBuffer<T extends Tensor>(name: string, tensor: T, options: BufferOptions = {}): T {
    const call = `${this.name}.registerBuffer`;
    checkOptions(call, options, ['persistent']);
    const { persistent = true } = options;
    checkBoolean(call, 'persistent', persistent);
    this.#checkName(name);
    checkTensor(this.name, `'${name}'`, tensor);
    checkOwn(this.name, `'${name}'`, tensor);
    this.#buffers.set(name, { tensor, persistent });
    return adopt(tensor, false);
  }

  /** Adds parameters by their names. */
  protected registerAll(tensors: Iterable<readonly [name: string, tensor: Tensor]>): void {
    for (const [name, tensor] of tensors) this.register(name, tensor);
  }

  /**
   * Adds an inner module under a name, which this one owns from now on: both are trained, saved, switched and disposed
   * together. A module that is an attribute as well has only this name.
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

  /** Inner modules by name: those that were registered, and those that are attributes. */
  #children(): Map<string, Module> {
    const children = new Map(this.#modules);
    const registered = new Set(this.#modules.values());
    for (const [name, value] of Object.entries(this) as [string, unknown][]) {
      if (!(value instanceof Module) || registered.has(value)) continue;
      if (children.has(name)) throw takenName(this.name, name);
      children.set(name, value);
    }
    return children;
  }

  /**
   * This module and all inner ones, under each of their names. One that holds itself is not entered again.
   *
   * @param around the modules that this one is inside of
   */
  *#walk(prefix = '', around: ReadonlySet<Module> = new Set()): Generator<[name: string, module: Module]> {
    if (around.has(this)) return;
    yield [prefix, this];
    const within = new Set(around).add(this);
    for (const [name, module] of this.#children()) yield* module.#walk(prefix ? `${prefix}.${name}` : name, within);
  }

  /** Tensors of this and all inner modules, under each of their names. */
  *#tensors(of: (module: Module) => Named): Generator<[name: string, tensor: Tensor]> {
    for (const [prefix, module] of this.#walk()) {
      for (const [name, tensor] of of(module)) yield [prefix ? `${prefix}.${name}` : name, tensor];
    }
  }

  #firstNames(of: (module: Module) => Named): Record<string, Tensor> {
    const names = new Map<Tensor, string>();
    for (const [name, tensor] of this.#tensors(of)) if (!names.has(tensor)) names.set(tensor, name);
    return Object.fromEntries(Array.from(names, ([tensor, name]) => [name, tensor]));
  }

  *#state(): Generator<[name: string, tensor: Tensor]> {
    yield* this.#parameters;
    for (const [name, { tensor, persistent }] of this.#buffers) if (persistent) yield [name, tensor];
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
    const children = this.#children();
    if (children.size === 0) return `${this.name}(${facts})`;
    const within = new Set(around).add(this);
    const inner = [...children].map(([name, module]) => ({ name, text: module.#print(within) }));
    const lines = [...(facts ? [facts] : []), ...joinAlike(inner)];
    return `${this.name}(\n  ${lines.join('\n').replaceAll('\n', '\n  ')}\n)`;
  }

  #checkName(name: string): void {
    const taken = [this.#parameters, this.#buffers, this.#modules].some((names) => names.has(name));
    if (typeof name === 'string' && name !== '' && !taken) return;
    throw takenName(this.name, name);
  }
}

type Named = Iterable<readonly [name: string, tensor: Tensor]>;

function takenName(module: string, name: unknown): ArgumentError {
  return new ArgumentError(`${module}: a parameter or module must have a name of its own, got ${describe(name)}`);
}

/** @throws ArgumentError for a view or the result of a recorded call */
function checkOwn(call: string, argument: string, tensor: Tensor): void {
  if (tensor.isContiguous && tensor.offset === 0 && tensor.origin?.isLeaf !== false) return;
  throw new ArgumentError(
    `${call}: ${argument} must be a tensor of its own, got a view or the result of a recorded call`,
  );
}

/** Takes the tensor from the scope that it was made in. */
function adopt<T extends Tensor>(tensor: T, isTrained: boolean): T {
  tensor.requiresGrad = isTrained;
  tensor.device.keep(tensor);
  return tensor;
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
