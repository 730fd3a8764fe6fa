/** Splits WGSL into tokens with their places, as far as checking a user's function needs it. */
import { ArgumentError } from '../errors.ts';

export interface Token {
  readonly kind: 'name' | 'number' | 'symbol';
  readonly text: string;
  /** From 1. */
  readonly line: number;
  readonly column: number;
}

const TOKEN =
  /(?<skip>\s+|\/\/.*)|(?<name>[A-Za-z_]\w*)|(?<number>0[xX][\da-fA-F.]+(?:[pP][+-]?\d+)?[iufh]?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[iufh]?)|(?<symbol>\/\*|->|<<=|>>=|\+\+|--|&&|\|\||[-+*/%&|^=!<>]=|[-+*/%&|^~!=<>()[\]{},;:.@])/y;

/** @throws ArgumentError `caller: line 1, column 2: …` for text that is not WGSL */
export function tokenise(caller: string, source: string): Token[] {
  const tokens: Token[] = [];
  let [line, start] = [1, 0];
  for (let at = 0; at < source.length;) {
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(source);
    const place = { line, column: at - start + 1 };
    if (!match) fail(caller, place, `unexpected character '${String.fromCodePoint(source.codePointAt(at)!)}'`);
    const [text] = match;
    const end = text === '/*' ? endOfComment(caller, source, at, place) : at + text.length;
    const { name, number, skip } = match.groups!;
    if (skip === undefined && text !== '/*') {
      tokens.push({ kind: name ? 'name' : number ? 'number' : 'symbol', text, ...place });
    }
    for (let i = at; i < end; i++) if (source[i] === '\n') [line, start] = [line + 1, i + 1];
    at = end;
  }
  return tokens;
}

/** Block comments nest. */
function endOfComment(caller: string, source: string, begin: number, place: Place): number {
  const edge = /\/\*|\*\//g;
  edge.lastIndex = begin;
  let depth = 0;
  for (let match = edge.exec(source); match; match = edge.exec(source)) {
    depth += match[0] === '/*' ? 1 : -1;
    if (depth === 0) return edge.lastIndex;
  }
  return fail(caller, place, 'a comment that is not closed');
}

type Place = Pick<Token, 'line' | 'column'>;

/** @throws ArgumentError */
export function fail(caller: string, { line, column }: Place, problem: string): never {
  throw new ArgumentError(`${caller}: line ${line}, column ${column}: ${problem}`);
}
