/**
 * Counts the bytes of arrays and structs. Scalars, vectors and matrices by themselves count nothing: each stands in the text,
 * whose length is limited. A struct may be much longer than its text: if each of 28 structs holds the one before it twice, the
 * last has 2^27 times the size of the first.
 */
import type { Range, Source } from './integer-ranges.ts';
import { fail } from './tokens.ts';

/** What names mean at the place of a type. */
export interface Scope {
  /** The range of an array's length, which begins at a token, and the index after it. */
  readonly lengthAt: (index: number) => { readonly range: Range | undefined; readonly next: number };
  /** Bytes of arrays and structs in the value that a token names. */
  readonly valueBytes: (index: number) => number;
}

/** A type and the index of the token after it. */
interface Read {
  readonly bytes: number;
  /** Whether it is or holds an array or a struct. */
  readonly counts: boolean;
  readonly next: number;
}

const DEEPEST = 64;
/** No sum becomes infinite, because infinity times zero is no number, and no limit refuses that. */
const MOST = Number.MAX_SAFE_INTEGER;

/**
 * Bytes of the type that begins at a token, or of the array that `array(…)` makes there.
 *
 * @param declared the token with which a declaration begins: `alias`, `struct`
 * @param outside the scope of these declarations
 */
export function typeBytes(
  caller: string,
  source: Source,
  declared: (name: string) => number | undefined,
  outside: Scope,
): (index: number, scope: Scope) => number {
  const { tokens, closing } = source;
  const named = new Map<string, Read>();
  const textAt = (index: number) => tokens[index]?.text ?? '';

  const read = (index: number, depth: number, scope: Scope): Read => {
    if (depth > DEEPEST) fail(caller, tokens[index], 'types are nested too deeply');
    const text = textAt(index);
    const declaration = declared(text);
    if (declaration !== undefined) {
      const known = named.get(text) ?? readDeclared(declaration, depth);
      named.set(text, known);
      return { ...known, next: index + 1 };
    }
    if (text !== 'array') return readPlain(index);
    if (textAt(index + 1) === '(') return readList(index + 1, depth, scope);
    const element = read(index + 2, depth + 1, scope);
    const hasLength = textAt(element.next) === ',';
    const { range, next } = hasLength ? scope.lengthAt(element.next + 1) : { range: undefined, next: element.next };
    if (!range || range.least !== range.most || range.least < 1) {
      fail(caller, tokens[element.next], "an array's length must be a number, or made of numbers and constants");
    }
    const bytes = Math.min(MOST, range.most * element.bytes);
    return { bytes, counts: true, next: next + (textAt(next) === ',' ? 2 : 1) };
  };

  /** The elements of `array(…)`, each as large as the largest thing in them. A vector that has a name counts as a scalar. */
  const readList = (open: number, depth: number, scope: Scope): Read => {
    const end = closing.get(open)!;
    let [elements, largest] = [1, 4];
    let inner = open; // the end of the brackets inside of an element
    for (let i = open + 1; i < end;) {
      if (textAt(i) === ',' && i > inner && i + 1 < end) elements++;
      if (i > inner) inner = closing.get(i) ?? inner;
      const isType = tokens[i].kind === 'name' && textAt(i - 1) !== '.';
      const { bytes, next } = isType ? read(i, depth + 1, scope) : { bytes: 0, next: i + 1 };
      largest = Math.max(largest, bytes, isType ? scope.valueBytes(i) : 0);
      i = next;
    }
    return { bytes: Math.min(MOST, elements * largest), counts: true, next: end + 1 };
  };

  const readDeclared = (at: number, depth: number): Read => {
    if (textAt(at) === 'alias') return read(at + 3, depth + 1, outside);
    const open = at + 2;
    let bytes = 0;
    for (let i = open; i < (closing.get(open) ?? open); i++) {
      if (textAt(i) === ':') bytes = Math.min(MOST, bytes + read(i + 1, depth + 1, outside).bytes);
    }
    return { bytes, counts: true, next: open };
  };

  /** A scalar, vector or matrix: `f32`, `vec3<f32>`, `mat2x4f`. */
  const readPlain = (index: number): Read => {
    const [, columns = '1', rows = '1'] = /^(?:mat(\d)x|vec)(\d)/.exec(textAt(index)) ?? [];
    const bytes = Number(columns) * (rows === '3' ? 16 : 4 * Number(rows));
    let next = index + 1;
    if (rows !== '1' && textAt(next) === '<') {
      while (next < tokens.length && textAt(next) !== '>') next++;
      next++;
    }
    return { bytes, counts: false, next };
  };

  return (index, scope) => {
    const { bytes, counts } = read(index, 0, scope);
    return counts ? bytes : 0;
  };
}
