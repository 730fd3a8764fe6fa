/** A paged cache and its model, which knows no pages, only what each sequence holds. */
import { f16round } from '@petamoriken/float16';
import { expect } from 'vitest';
import { PagedKeyValueCache, type Device, type PagedKeyValueCacheOptions, type RotaryTables } from '../../src/index.ts';
import type { Float, Layout } from '../ops/upload.ts';
import type { Random } from '../random.ts';
import { arrange, tokenOf, type RotaryTables as HostTables, type Token } from '../reference/cache.ts';
import { expectClose } from '../reference/compare.ts';
import { tolerances } from '../reference/tolerances.ts';
import { appending, entryOf, newRows, type Sizes } from './cache-run.ts';

export class PagedRun {
  readonly cache: PagedKeyValueCache;
  /** Tokens of each sequence, by id. */
  readonly model = new Map<number, Token[]>();
  readonly #device: Device;
  readonly #random: Random;
  readonly #sizes: Sizes;
  readonly #dtype: Float;
  readonly #tables: HostTables | undefined;

  constructor(
    device: Device,
    random: Random,
    sizes: Omit<Sizes, 'batch'>,
    options: Partial<PagedKeyValueCacheOptions> & { readonly dtype?: Float },
    tables?: HostTables,
  ) {
    const { kvHeads: numKvHeads, dim: headDim, valueDim } = sizes;
    this.#device = device;
    this.#random = random;
    this.#sizes = { ...sizes, batch: 1 };
    this.#dtype = options.dtype ?? 'float32';
    this.#tables = tables;
    this.cache = new PagedKeyValueCache(device, {
      numPages: 8,
      pageSize: 4,
      numKvHeads,
      headDim,
      valueDim,
      ...options,
    });
  }

  add(): number {
    const id = this.cache.add();
    expect(this.model.has(id)).toBe(false);
    this.model.set(id, []);
    return id;
  }

  fork(id: number): number {
    const forked = this.cache.fork(id);
    this.model.set(forked, [...this.model.get(id)!]);
    return forked;
  }

  truncate(id: number, length: number): void {
    this.cache.truncate(id, length);
    this.model.get(id)!.length = length;
  }

  free(id: number): void {
    this.cache.free(id);
    this.model.delete(id);
  }

  /** Appends random rows, in a batch as long as the longest of them and `padding`. */
  append(
    ids: readonly number[],
    lengths: readonly number[],
    given: { padding?: number; inDType?: Float; layout?: Layout; rotary?: RotaryTables } = {},
  ): void {
    const { padding = 0, inDType = this.#dtype, layout, rotary } = given;
    const rows = newRows(this.#random, { ...this.#sizes, batch: ids.length }, Math.max(...lengths) + padding, inDType);
    const isRagged = padding > 0 || lengths.some((length) => length !== lengths[0]);
    const options = { rotary, ...(isRagged && { lengths }) };
    appending(this.#device, rows, inDType, (k, v) => this.cache.append(ids, k, v, options), layout);
    for (const [b, id] of ids.entries()) {
      const tokens = this.model.get(id)!;
      const [k, v] = [entryOf(rows.k, b), entryOf(rows.v, b)];
      for (let n = 0; n < lengths[b]; n++) tokens.push(tokenOf(k, v, n, tokens.length, this.#tables));
    }
  }

  /** Every sequence is in its pages what it is in the model, and pages that no sequence has are free. */
  async expectSame(): Promise<void> {
    const { cache } = this;
    const { kvHeads, dim, valueDim } = this.#sizes;
    const keys = (await cache.keys.data()) as Float32Array;
    const values = (await cache.values.data()) as Float32Array;
    const used = new Set<number>();
    for (const [id, tokens] of this.model) {
      const pages = cache.pages(id);
      expect(cache.length(id)).toBe(tokens.length);
      expect(pages.length).toBe(Math.ceil(tokens.length / cache.pageSize));
      for (const page of pages) used.add(page);
      if (tokens.length === 0) continue;
      const wanted = arrange(tokens, [1, kvHeads, dim, valueDim]);
      const gather = (stored: Float32Array, width: number) =>
        Float32Array.from({ length: kvHeads * tokens.length * width }, (_, at) => {
          const row = Math.floor(at / width) % tokens.length;
          const head = Math.floor(at / (width * tokens.length));
          const block = pages[Math.floor(row / cache.pageSize)] * kvHeads + head;
          return stored[(block * cache.pageSize + (row % cache.pageSize)) * width + (at % width)];
        });
      const round = (data: Float64Array) => (this.#dtype === 'float16' ? data.map(f16round) : data);
      const gathered = gather(keys, dim);
      const label = `keys of sequence ${id}`;
      if (this.#tables) expectClose(gathered, wanted.keys.data, tolerances[this.#dtype].rotatedKey, label);
      else expectClose(gathered, round(wanted.keys.data), tolerances.exact, label);
      expectClose(gather(values, valueDim), round(wanted.values.data), tolerances.exact, `values of sequence ${id}`);
    }
    expect(cache.freePages).toBe(cache.numPages - used.size);
  }
}
