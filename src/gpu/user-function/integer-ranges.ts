/** Bounds an integer expression of WGSL, as far as a loop's number of rounds and an array's length depend on it. */
import type { Token } from './tokens.ts';

/** The least and the largest value of an integer. Whatever may wrap around has no range. */
export interface Range {
  readonly least: number;
  readonly most: number;
  /**
   * 'literal' for a number without a suffix, which takes the type of what it meets. 'unsure' if it met something unknown: then
   * nobody can say whether the value wraps below 0.
   */
  readonly type: 'i32' | 'u32' | 'literal' | 'unsure';
}

export interface Source {
  readonly tokens: readonly Token[];
  /** Index of the bracket that closes each opening one. */
  readonly closing: ReadonlyMap<number, number>;
}

/**
 * Two ranges of one value. The first says that the value does not wrap, whatever the arguments are. The second says what it
 * costs if the arguments are usual ones.
 */
export type Ranges = readonly [sure: Range | undefined, usual: Range | undefined];

export const UNKNOWN: Ranges = [undefined, undefined];

/** What ends an expression: the value that a declaration gives a name, a loop's bound, an array's length. */
export const ENDS: Readonly<Record<'value' | 'bound' | 'length', readonly string[]>> = {
  value: [';'],
  bound: [';', '&&'],
  length: [',', '>'],
};

const LEVELS: Readonly<Record<string, number>> = { '&': 1, '+': 2, '-': 2, '*': 3, '/': 3, '%': 3 };
const DEEPEST = 64;

/**
 * The range of the expression that begins at a token, if it is known, and the index after it.
 *
 * @param ends the tokens one of which must follow, for the range to be that of a whole expression: `4u << 28u` begins with 4u
 * @param known the range of a name
 * @param isOwn whether the name is the source's own, so that it does not call WGSL's function
 */
export function rangeAt(
  { tokens, closing }: Source,
  begin: number,
  ends: readonly string[],
  known: (name: string) => Range | undefined,
  isOwn: (name: string) => boolean,
): { range: Range | undefined; next: number } {
  let at = begin;
  const textAt = (index: number) => tokens[index]?.text;

  const binary = (least: number, depth: number): Range | undefined => {
    let left = unary(depth);
    while (LEVELS[textAt(at)] >= least) {
      const operator = tokens[at++].text;
      left = combine(operator, left, binary(LEVELS[operator] + 1, depth));
    }
    return left;
  };

  const unary = (depth: number): Range | undefined => {
    if (depth > DEEPEST) {
      at = tokens.length;
      return undefined;
    }
    if (textAt(at) === '-') {
      at++;
      return combine('-', { least: 0, most: 0, type: 'literal' }, unary(depth + 1));
    }
    const { kind, text } = tokens[at] ?? { kind: 'symbol', text: '' };
    let range: Range | undefined;
    if (kind === 'number') range = literal(text);
    else if (text === '(') {
      const end = closing.get(at)!;
      at++;
      const inner = binary(1, depth + 1);
      range = at === end ? inner : undefined;
      at = end;
    } else if (kind === 'name' && textAt(at + 1) === '(') range = call(text, depth);
    else if (kind === 'name') range = known(text);
    at++;
    while (textAt(at) === '.' || textAt(at) === '[') {
      range = undefined;
      at = textAt(at) === '[' ? closing.get(at)! + 1 : at + 2;
    }
    return range;
  };

  /** Stops at the closing bracket. */
  const call = (name: string, depth: number): Range | undefined => {
    const end = closing.get(at + 1)!;
    const given: (Range | undefined)[] = [];
    for (at++; at < end;) {
      at++;
      given.push(binary(1, depth + 1));
      if (at !== end && textAt(at) !== ',') break;
    }
    const isRead = at === end;
    at = end;
    return isRead && !isOwn(name) ? result(name, given) : undefined;
  };

  const range = binary(1, 0);
  return { range: ends.includes(textAt(at)) ? range : undefined, next: at };
}

/** A range with the type that the declaration of the name gives it. A literal without one becomes `otherwise`. */
export function asDeclared(
  { tokens }: Source,
  name: number,
  range: Range | undefined,
  otherwise: Range['type'],
): Range | undefined {
  if (range?.type !== 'literal') return range;
  if (tokens[name + 1]?.text !== ':') return { ...range, type: otherwise };
  const declared = tokens[name + 2]?.text;
  return { ...range, type: declared === 'u32' || declared === 'i32' ? declared : 'unsure' };
}

function literal(text: string): Range | undefined {
  const match = /^(0[xX][\da-fA-F]+|\d+)([iu]?)$/.exec(text);
  if (!match) return undefined;
  const value = Number(match[1]);
  return fitting(value, value, match[2] === 'u' ? 'u32' : match[2] === 'i' ? 'i32' : 'literal');
}

function fitting(least: number, most: number, type: Range['type']): Range | undefined {
  const fits = type === 'u32' ? least >= 0 && most < 2 ** 32 : least >= -(2 ** 31) && most < 2 ** 31;
  return fits ? { least, most, type } : undefined;
}

function commonType(...ranges: readonly (Range | undefined)[]): Range['type'] {
  const sure = ranges.find((range) => range?.type === 'u32' || range?.type === 'i32');
  if (sure) return sure.type;
  return ranges.every((range) => range?.type === 'literal') ? 'literal' : 'unsure';
}

function combine(operator: string, a: Range | undefined, b: Range | undefined): Range | undefined {
  // a mask and a remainder bound even what is not known
  if (operator === '&') {
    const masks = [a, b].filter((range) => range !== undefined && range.least >= 0) as Range[];
    if (masks.length === 0) return undefined;
    return fitting(0, Math.min(...masks.map(({ most }) => most)), commonType(a, b));
  }
  if (operator === '%' && b && b.least > 0) {
    const type = commonType(a, b);
    const isPositive = type === 'u32' || (a && a.least >= 0);
    return fitting(isPositive ? 0 : 1 - b.most, b.most - 1, type);
  }
  if (!a || !b) return undefined;
  const type = commonType(a, b);
  if (type === 'unsure') return undefined;
  switch (operator) {
    case '+':
      return fitting(a.least + b.least, a.most + b.most, type);
    case '-':
      return fitting(a.least - b.most, a.most - b.least, type);
    case '*': {
      const products = [a.least * b.least, a.least * b.most, a.most * b.least, a.most * b.most];
      return fitting(Math.min(...products), Math.max(...products), type);
    }
    case '/': {
      if (b.least <= 0) return undefined;
      const quotients = [a.least / b.least, a.least / b.most, a.most / b.least, a.most / b.most].map(Math.trunc);
      return fitting(Math.min(...quotients), Math.max(...quotients), type);
    }
  }
  return undefined;
}

/** The range of a call of one of WGSL's functions. */
function result(name: string, given: readonly (Range | undefined)[]): Range | undefined {
  const [a, b, c] = given;
  if (name === 'min' && given.length === 2 && (a || b)) {
    const ranges = [a, b].filter((range) => range !== undefined);
    const type = commonType(a, b);
    const lowest = type === 'u32' ? 0 : -(2 ** 31);
    const least = Math.min(...[a, b].map((range) => range?.least ?? lowest));
    return fitting(least, Math.min(...ranges.map(({ most }) => most)), type);
  }
  if (name === 'max' && a && b) {
    const type = commonType(a, b);
    return fitting(Math.max(a.least, b.least), Math.max(a.most, b.most), type);
  }
  if (name === 'clamp' && b && c) {
    const type = commonType(a, b, c);
    return fitting(Math.min(b.least, c.least), c.most, type);
  }
  if (name === 'abs' && a && given.length === 1) {
    return fitting(0, Math.max(Math.abs(a.least), Math.abs(a.most)), a.type);
  }
  if ((name === 'u32' || name === 'i32') && a && given.length === 1) {
    return fitting(a.least, a.most, name);
  }
  return undefined;
}
