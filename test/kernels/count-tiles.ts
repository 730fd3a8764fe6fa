/** Key tiles that the workgroups of one head visit, as the tile kernels count them. */
import type { AttentionVariant } from '../../src/kernels/attention.ts';

/** Query i is at position queryOffset + i and sees [its position − left, its position + right]. */
export interface Band {
  readonly left: number;
  readonly right: number;
  readonly queryOffset: number;
}

interface Walk {
  readonly queryLength: number;
  readonly keyLength: number;
  readonly band: Band;
}

/** First key, and one past the last, that any of the queries [first, last] sees. */
export function keyRange(band: Band, first: number, last: number, keyLength: number): [number, number] {
  const clamp = (key: number) => Math.min(Math.max(key, 0), keyLength);
  return [clamp(first + band.queryOffset - band.left), clamp(last + band.queryOffset + band.right + 1)];
}

function countKeyTiles(
  { queryLength, keyLength, band }: Walk,
  { blockQ, blockK }: AttentionVariant,
  visited: (range: readonly [number, number]) => number,
): number {
  let count = 0;
  for (let first = 0; first < queryLength; first += blockQ) {
    const last = Math.min(first + blockQ, queryLength) - 1;
    const keys = visited(keyRange(band, first, last, keyLength));
    count += Math.ceil(Math.max(keys, 0) / blockK);
  }
  return count;
}

/** With a causal mask about half of all. */
export function countFlashTiles(problem: Walk, tile: AttentionVariant): number {
  return countKeyTiles(problem, tile, ([, end]) => end);
}

/** About length · (blockQ + window) / (blockQ · blockK). */
export function countLocalTiles(problem: Walk, tile: AttentionVariant): number {
  return countKeyTiles(problem, tile, ([begin, end]) => end - begin);
}
