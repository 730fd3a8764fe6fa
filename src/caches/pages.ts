/** Tracks which pages are free and who holds the others, and plans which pages an append takes. It knows only page numbers. */
import type { PagedRows } from '../kernels/cache.ts';

/** Tracks which pages are free, and how many sequences hold each of the others. */
export class PagePool {
  /** For each page, the number of sequences that hold it. */
  #holders: number[] = [];
  /** Free pages; the last one is taken next. */
  #free: number[] = [];

  constructor(pages: number) {
    this.grow(pages);
  }

  get size(): number {
    return this.#holders.length;
  }

  get free(): number {
    return this.#free.length;
  }

  holders(page: number): number {
    return this.#holders[page];
  }

  /** What it returns puts everything back as it is now. */
  save(): () => void {
    const [holders, free] = [[...this.#holders], [...this.#free]];
    return () => {
      this.#holders = holders;
      this.#free = free;
    };
  }

  /** Adds pages until there are `size`. */
  grow(size: number): void {
    const added = Array.from({ length: size - this.size }, (_, i) => size - 1 - i);
    for (let i = 0; i < added.length; i++) this.#holders.push(0);
    this.#free = [...added, ...this.#free];
  }

  /** Takes free pages, each for one holder. There must be that many. */
  take(count: number): number[] {
    const taken = this.#free.splice(this.#free.length - count, count).reverse();
    for (const page of taken) this.#holders[page] = 1;
    return taken;
  }

  /** Adds a holder to a page. */
  share(page: number): void {
    this.#holders[page]++;
  }

  /** Removes a holder. A page without holders is free. Releasing taken pages in reverse order restores the order of free pages. */
  release(page: number): void {
    if (--this.#holders[page] === 0) this.#free.push(page);
  }
}

export interface Sequence {
  length: number;
  /** First to last; all but the last are full. */
  readonly pages: number[];
}

/** What an append means for the pages of one sequence. */
export interface Addition {
  readonly sequence: Sequence;
  /** Number of new rows. */
  readonly count: number;
  /** The last page, if it is partly filled and the append writes to it. */
  readonly partial: number | undefined;
  /** Whether others hold that page too. The sequence then gets a copy of it. */
  readonly copies: boolean;
  /** Number of free pages that it takes, including the one for the copy. */
  readonly wanted: number;
}

/** @param holders tells how many sequences hold a page */
export function planAdditions(
  sequences: readonly Sequence[],
  counts: readonly number[],
  pageSize: number,
  holders: (page: number) => number,
): Addition[] {
  /** For each page, how many of the earlier sequences get a copy of it and no longer hold it. */
  const left = new Map<number, number>();
  return sequences.map((sequence, b) => {
    const { length, pages } = sequence;
    const count = counts[b];
    const partial = count > 0 && length % pageSize > 0 ? pages.at(-1) : undefined;
    const copies = partial !== undefined && holders(partial) - (left.get(partial) ?? 0) > 1;
    if (copies) left.set(partial, (left.get(partial) ?? 0) + 1);
    const added = Math.ceil((length + count) / pageSize) - pages.length;
    return { sequence, count, partial, copies, wanted: added + (copies ? 1 : 0) };
  });
}

/** Hands out `taken`, which are as many pages as all additions need, and returns where each addition writes its rows. */
export function assignPages(additions: readonly Addition[], taken: readonly number[]): PagedRows[] {
  let next = 0;
  return additions.map(({ sequence, count, partial, copies, wanted }) => {
    const fresh = taken.slice(next, (next += wanted));
    const pages = partial === undefined || copies ? fresh : [partial, ...fresh];
    return { position: sequence.length, count, pages };
  });
}
