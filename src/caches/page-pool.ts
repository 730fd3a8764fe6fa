/** Which pages are free, and how many sequences hold each of the others. Numbers only: the pages themselves lie elsewhere. */
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
