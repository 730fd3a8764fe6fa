import { ArgumentError } from '../gpu/errors.ts';
import { describe } from '../ops/internal/check.ts';
import { Module } from './module.ts';

/**
 * Modules in order, named by their numbers, as torch.nn.ModuleList. It has no forward.
 *
 *     this.layers = new ModuleList(Array.from({ length: 6 }, () => new Block(device, 64)));
 *     for (const layer of this.layers) x = layer.forward(x);
 */
export class ModuleList<T extends Module = Module> extends Module implements Iterable<T> {
  readonly #items: T[] = [];

  /** @throws ArgumentError for a value that is not a module */
  constructor(modules: Iterable<T> = [], name = 'ModuleList') {
    super(name);
    if (typeof modules?.[Symbol.iterator] !== 'function') {
      throw new ArgumentError(`${name}: modules must be an array of modules, got ${describe(modules)}`);
    }
    for (const module of modules) this.append(module);
  }

  get length(): number {
    return this.#items.length;
  }

  /** The module with this number, from the end if it is negative; undefined if there is none. */
  at(index: number): T | undefined {
    return this.#items.at(index);
  }

  /** Adds a module at the end. */
  append(module: T): this {
    this.#items.push(this.registerModule(String(this.#items.length), module));
    return this;
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.#items[Symbol.iterator]();
  }
}
