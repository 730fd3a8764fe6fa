/** Loops of a user's function: they must count, and between bounds that are known. */
import { asDeclared, ENDS, type Ranges, type Source } from './integer-ranges.ts';
import { fail, type Token } from './tokens.ts';

const ASSIGNS = new Set('= += -= *= /= %= &= |= ^= <<= >>= ++ --'.split(' '));

/**
 * A kernel that hangs is never interrupted. So a loop must be `for (var i = …; i < …; i++)`, or with `>` and `--`, and its
 * body must not change i. Then it ends. With `<=` it might not, because the largest number plus one wraps to the smallest.
 * `countRounds` then bounds how late it ends.
 */
export function checkCounting(
  caller: string,
  tokens: readonly Token[],
  start: number,
  closing: ReadonlyMap<number, number>,
): void {
  const end = closing.get(start + 1) ?? start;
  const header = tokens.slice(start + 2, end);
  const name = header[1]?.text;
  const [first, second] = header.flatMap(({ text }, i) => (text === ';' ? [i] : []));
  const texts = header.map(({ text }) => text);
  const counts =
    texts[0] === 'var' &&
    texts[first + 1] === name &&
    texts.slice(second + 1).join(' ') === `${name} ${texts[first + 2] === '>' ? '--' : '++'}` &&
    ['<', '>'].includes(texts[first + 2]) &&
    !texts.includes('||');
  if (!counts || tokens[end + 1]?.text !== '{') {
    fail(caller, tokens[start], 'a loop must count: for (var i = …; i < …; i++) { … }, or down with > and --');
  }
  for (let i = end; i < closing.get(end + 1)!; i++) {
    if (tokens[i].text !== name) continue;
    let after = i + 1;
    while (tokens[after].text === ')') after++; // (i) = 0
    if (ASSIGNS.has(tokens[after].text)) {
      fail(caller, tokens[i], `the loop's counter '${name}' must not be changed in its body`);
    }
  }
}

/**
 * How many rounds a loop that counts takes at most, for any arguments and for usual ones, and the values of its counter.
 *
 * @param main the function whose arguments may be bounds
 */
export function countRounds(
  caller: string,
  { tokens, closing }: Source,
  start: number,
  rangesAt: (index: number, ends: readonly string[]) => Ranges,
  main: string,
): { rounds: readonly [sure: number, usual: number]; ranges: Ranges } {
  const end = closing.get(start + 1)!;
  const places = Array.from({ length: end - start }, (_, i) => start + i);
  const assigns = places.find((i) => tokens[i].text === '=') ?? end;
  const bound = places.find((i) => tokens[i].text === ';')! + 3;
  const isUp = tokens[bound - 1].text === '<';
  const counter = tokens[start + 3].text;
  for (let i = bound; !ENDS.bound.includes(tokens[i].text); i++) {
    // the scope that is known here may have something else of that name
    if (tokens[i].text === counter) fail(caller, tokens[i], `a loop's bound must not name its counter '${counter}'`);
  }
  const [firsts, bounds] = [rangesAt(assigns + 1, ENDS.value), rangesAt(bound, ENDS.bound)];
  const count = (kind: 0 | 1) => {
    const first = asDeclared({ tokens, closing }, start + 3, firsts[kind], 'i32');
    const limit = bounds[kind];
    if (!limit || (!first && !(isUp && limit.type === 'u32'))) return undefined;
    const { least, most } = first ?? { least: 0, most: limit.most };
    const type = first?.type ?? limit.type;
    return isUp
      ? { rounds: Math.max(0, limit.most - least), range: { least, most: Math.max(most, limit.most - 1), type } }
      : { rounds: Math.max(0, most - limit.least), range: { least: Math.min(least, limit.least + 1), most, type } };
  };
  const [sure, usual] = [count(0), count(1)];
  if (!sure || !usual) {
    fail(
      caller,
      tokens[bound],
      `a loop's bounds must be made of numbers, constants and ${main}'s u32 parameters; of anything else take min(…, number)`,
    );
  }
  return { rounds: [sure.rounds, usual.rounds], ranges: [sure.range, usual.range] };
}
