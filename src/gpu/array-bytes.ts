/** Counts the bytes of arrays in WGSL's types. Whatever holds no array counts nothing: it lies in registers. */
import type { Range, Source } from './ranges.ts';
import { fail } from './tokens.ts';

/** A type and the index of the token after it. */
interface Read {
  readonly bytes: number;
  readonly holdsArray: boolean;
  readonly next: number;
}

type LengthAt = (index: number) => { readonly range: Range | undefined; readonly next: number };

const DEEPEST = 64;

/**
 * Bytes of the arrays in the type that begins at a token, or in the array that `array(…)` makes there.
 *
 * @param declared the token with which a declaration begins: `alias`, `struct`
 * @param lengthAt the range of an array's length, which begins at a token, as declarations outside functions see it
 * @returns bytes of the type at a token; its second argument is `lengthAt` as the place of that token sees it
 */
export function arrayBytes(
  caller: string,
  source: Source,
  declared: (name: string) => number | undefined,
  lengthAt: LengthAt,
): (index: number, lengthHere?: LengthAt) => number {
  const { tokens, closing } = source;
  const named = new Map<string, Read>();
  const textAt = (index: number) => tokens[index]?.text ?? '';

  const read = (index: number, depth: number, length: LengthAt): Read => {
    if (depth > DEEPEST) fail(caller, tokens[index], 'types are nested too deeply');
    const text = textAt(index);
    const declaration = declared(text);
    if (declaration !== undefined) {
      const known = named.get(text) ?? readDeclared(declaration, depth);
      named.set(text, known);
      return { ...known, next: index + 1 };
    }
    if (text !== 'array') return readPlain(index);
    if (textAt(index + 1) === '(') {
      const end = closing.get(index + 1)!;
      let words = 0; // of its elements, all of which stand in the text
      for (let i = index; i < end; i++) if (tokens[i].kind !== 'symbol') words++;
      return { bytes: 4 * words, holdsArray: true, next: end + 1 };
    }
    const element = read(index + 2, depth + 1, length);
    const hasLength = textAt(element.next) === ',';
    const { range, next } = hasLength ? length(element.next + 1) : { range: undefined, next: element.next };
    if (!range || range.least !== range.most || range.least < 1) {
      fail(caller, tokens[element.next], "an array's length must be a number, or made of numbers and constants");
    }
    return { bytes: range.most * element.bytes, holdsArray: true, next: next + (textAt(next) === ',' ? 2 : 1) };
  };

  const readDeclared = (at: number, depth: number): Read => {
    if (textAt(at) === 'alias') return read(at + 3, depth + 1, lengthAt);
    const open = at + 2;
    let [bytes, holdsArray] = [0, false];
    for (let i = open; i < (closing.get(open) ?? open); i++) {
      if (textAt(i) !== ':') continue;
      const member = read(i + 1, depth + 1, lengthAt);
      [bytes, holdsArray] = [bytes + member.bytes, holdsArray || member.holdsArray];
    }
    return { bytes, holdsArray, next: open };
  };

  /** A scalar, vector or matrix: `f32`, `vec3<f32>`, `mat2x4f`. */
  const readPlain = (index: number): Read => {
    const [, columns = '1', rows = '1'] = /^(?:mat(\d)x|vec)(\d)/.exec(textAt(index)) ?? [];
    const bytes = Number(columns) * (rows === '3' ? 16 : 4 * Number(rows));
    return { bytes, holdsArray: false, next: textAt(index + 1) === '<' ? index + 4 : index + 1 };
  };

  return (index, lengthHere = lengthAt) => {
    const { bytes, holdsArray } = read(index, 0, lengthHere);
    return holdsArray ? bytes : 0;
  };
}
