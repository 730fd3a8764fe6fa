import { Heap } from './heap.ts';

/** The symbol that two neighbours become. Merges of the least rank come first. */
export interface Merge {
  readonly rank: number;
  readonly symbol: number;
}

/** A pair that could be merged when it was noted. Another merge may have taken one of the two since. */
interface Candidate {
  readonly rank: number;
  /** Index of the left symbol. */
  readonly at: number;
  readonly left: number;
  readonly right: number;
  readonly symbol: number;
}

/**
 * Encodes one word by byte pairs (Sennrich et al. 2016, arXiv:1508.07909): merges the pair of the least rank, the leftmost
 * among equals, until no pair is left. Takes O(n log n) in the number of symbols.
 *
 * @param mergeOf what two neighbouring symbols become, or undefined if they do not merge
 */
export function mergePairs(
  symbols: readonly number[],
  mergeOf: (left: number, right: number) => Merge | undefined,
): number[] {
  const current: (number | undefined)[] = [...symbols];
  const previous = symbols.map((_, i) => i - 1);
  const next = symbols.map((_, i) => i + 1);
  const heap = new Heap<Candidate>(isBefore);
  const note = (at: number): void => {
    const left = current[at];
    const right = current[next[at]];
    if (left === undefined || right === undefined) return;
    const merge = mergeOf(left, right);
    if (merge) heap.push({ rank: merge.rank, at, left, right, symbol: merge.symbol });
  };
  for (let at = 0; at < symbols.length; at++) note(at);
  for (let best = heap.pop(); best; best = heap.pop()) {
    const { at, left, right, symbol } = best;
    const gone = next[at];
    if (current[at] !== left || current[gone] !== right) continue;
    current[at] = symbol;
    current[gone] = undefined;
    next[at] = next[gone];
    if (next[at] < symbols.length) previous[next[at]] = at;
    if (previous[at] >= 0) note(previous[at]);
    note(at);
  }
  return current.filter((symbol) => symbol !== undefined);
}

function isBefore(a: Candidate, b: Candidate): boolean {
  return a.rank < b.rank || (a.rank === b.rank && a.at < b.at);
}
