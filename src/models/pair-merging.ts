/** What two neighbours become, and how early: the least rank goes first. */
export interface Merge {
  readonly rank: number;
  readonly symbol: number;
}

/** A pair that could be merged when it was noted; by then it may be gone. */
interface Candidate {
  readonly rank: number;
  /** Place of the left symbol. */
  readonly at: number;
  readonly left: number;
  readonly right: number;
  readonly symbol: number;
}

/**
 * Byte-pair encoding of one word: merges neighbours until none can be, always the pair of the least rank, the leftmost of
 * equals (Sennrich et al. 2016, arXiv:1508.07909). O(n log n) in the number of symbols.
 *
 * @param mergeOf what two neighbouring symbols become, or undefined where they do not merge
 */
export function mergePairs(
  symbols: readonly number[],
  mergeOf: (left: number, right: number) => Merge | undefined,
): number[] {
  const current: (number | undefined)[] = [...symbols];
  const previous = symbols.map((_, i) => i - 1);
  const next = symbols.map((_, i) => i + 1);
  const heap: Candidate[] = [];
  const note = (at: number): void => {
    const left = current[at];
    const right = current[next[at]];
    if (left === undefined || right === undefined) return;
    const merge = mergeOf(left, right);
    if (merge) push(heap, { ...merge, at, left, right });
  };
  for (let at = 0; at < symbols.length; at++) note(at);
  for (let best = pop(heap); best; best = pop(heap)) {
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

/** A binary heap: each candidate stands before both at twice its place. */
function push(heap: Candidate[], candidate: Candidate): void {
  let at = heap.length;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isBefore(candidate, heap[parent])) break;
    heap[at] = heap[parent];
    at = parent;
  }
  heap[at] = candidate;
}

function pop(heap: Candidate[]): Candidate | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return first;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++;
    if (!isBefore(heap[child], last)) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = last;
  return first;
}
