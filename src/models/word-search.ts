import type { Match, Matcher } from './pattern.ts';

/**
 * Finds words in a text from left to right, at each place the longest, in time linear in the text however many words there are
 * (Aho and Corasick 1975, "Efficient string matching"). It goes through the text backwards with the words reversed, so that the
 * longest word that ends where it is in the reversed text is the longest that begins there.
 *
 * @param words none of them empty
 */
export function compileWords(words: Iterable<string>): Matcher {
  // state 0 is the empty word; the key of a step is its state and the UTF-16 unit
  const steps = new Map<number, number>();
  const units = [0];
  const parents = [0];
  /** Length of the longest word that ends in a state. */
  const longest = [0];
  const byDepth: number[][] = [];
  for (const word of words) {
    let state = 0;
    for (let depth = 0; depth < word.length; depth++) {
      const unit = word.charCodeAt(word.length - 1 - depth);
      let next = steps.get(keyOf(state, unit));
      if (next === undefined) {
        next = units.length;
        steps.set(keyOf(state, unit), next);
        units.push(unit);
        parents.push(state);
        longest.push(0);
        (byDepth[depth] ??= []).push(next);
      }
      state = next;
    }
    longest[state] = word.length;
  }
  /** The state of the longest proper suffix of a state's word that has one. */
  const suffixes = new Int32Array(units.length);
  const advance = (from: number, unit: number): number => {
    for (let state = from; ; state = suffixes[state]) {
      const next = steps.get(keyOf(state, unit));
      if (next !== undefined) return next;
      if (state === 0) return 0;
    }
  };
  for (const [depth, states] of byDepth.entries()) {
    for (const state of states) {
      if (depth > 0) suffixes[state] = advance(suffixes[parents[state]], units[state]);
      longest[state] ||= longest[suffixes[state]];
    }
  }
  return (text) => {
    const begun: Match[] = [];
    let state = 0;
    for (let at = text.length - 1; at >= 0; at--) {
      state = advance(state, text.charCodeAt(at));
      if (longest[state] > 0) begun.push([at, at + longest[state]]);
    }
    let end = 0;
    return begun.reverse().filter((match) => {
      if (match[0] < end) return false;
      end = match[1];
      return true;
    });
  };
}

function keyOf(state: number, unit: number): number {
  return state * 0x10000 + unit;
}
