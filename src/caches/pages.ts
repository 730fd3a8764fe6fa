/** Which pages are free, which sequences hold the others, and which an append takes. Numbers only: the pages themselves lie elsewhere. */
import type { PagedRows } from '../kernels/cache.ts';

/** Which pages are free, and how many sequences hold each of the others. */
export class PagePool {
  /** By page: the sequences that hold it. */
  readonly #holders: number[] = [];
  /** The next one to be taken is the last. */
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

  /** Adds pages until there are `size`. */
  grow(size: number): void {
    const added = Array.from({ length: size - this.size }, (_, i) => size - 1 - i);
    this.#holders.push(...added.map(() => 0));
    this.#free = [...added, ...this.#free];
  }

  /** Takes free pages for one holder each; there must be as many. */
  take(count: number): number[] {
    const taken = this.#free.splice(this.#free.length - count, count).reverse();
    for (const page of taken) this.#holders[page] = 1;
    return taken;
  }

  /** Adds a holder. */
  share(page: number): void {
    this.#holders[page]++;
  }

  /** One holder less; without any, the page is free. Pages given back in the order of `take` reversed lie as before. */
  release(page: number): void {
    if (--this.#holders[page] === 0) this.#free.push(page);
  }
}

export interface Sequence {
  length: number;
  /** First to last; all but the last are full. */
  readonly pages: number[];
}

/** What an append does to one sequence. */
export interface Addition {
  readonly sequence: Sequence;
  /** New rows. */
  readonly count: number;
  /** The last page, where it is partly filled and to be written. */
  readonly partial: number | undefined;
  /** Others hold that page too, so that the sequence gets a copy. */
  readonly copies: boolean;
  /** Free pages that it takes, the copy's included. */
  readonly wanted: number;
}

/** @param holders sequences that hold a page */
export function planAdditions(
  sequences: readonly Sequence[],
  counts: readonly number[],
  pageSize: number,
  holders: (page: number) => number,
): Addition[] {
  /** By page: how many of the sequences before get a copy of it, and hold it no longer. */
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

/** Gives `taken`, as many pages as wanted in all, to the additions: the rows that each writes, in pages from that of row 0 on. */
export function assignPages(additions: readonly Addition[], taken: readonly number[]): PagedRows[] {
  let next = 0;
  return additions.map(({ sequence, count, partial, copies, wanted }) => {
    const fresh = taken.slice(next, (next += wanted));
    const pages = partial === undefined || copies ? fresh : [partial, ...fresh];
    return { position: sequence.length, count, pages };
  });
}
