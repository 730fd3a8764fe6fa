/** Which tiles of the score matrix the fused kernels visit, as shaders/attention does: small ones, so that they can be seen. */

export interface Band {
  readonly length: number;
  readonly isCausal: boolean;
  /** Keys to either side; undefined is all. */
  readonly window?: number;
}

export type TiledKernel = 'flash' | 'local';

/** A rectangle of queries and keys, both half-open ranges. */
export interface Tile {
  readonly queries: readonly [number, number];
  readonly keys: readonly [number, number];
}

/** The keys that a query sees, [first, end). */
export function keysOf(query: number, { length, isCausal, window = length }: Band): [first: number, end: number] {
  return [Math.max(0, query - window), Math.min(length, query + (isCausal ? 0 : window) + 1)];
}

/**
 * The tiles that are computed. `flash` goes through keys from a multiple of the block on, `local` from the first key of the
 * band on.
 */
export function visitedTiles(kernel: TiledKernel, band: Band, block: number): Tile[] {
  const tiles: Tile[] = [];
  for (let query = 0; query < band.length; query += block) {
    const last = Math.min(query + block, band.length) - 1;
    const [first] = keysOf(query, band);
    const [, end] = keysOf(last, band);
    const begin = kernel === 'flash' ? first - (first % block) : first;
    for (let key = begin; key < end; key += block) {
      tiles.push({ queries: [query, last + 1], keys: [key, Math.min(key + block, band.length)] });
    }
  }
  return tiles;
}

/** How many tiles there are without a band. */
export function allTiles(length: number, block: number): number {
  return Math.ceil(length / block) ** 2;
}
