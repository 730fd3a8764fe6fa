/**
 * Regular expressions from files, matched in time linear in the text.
 *
 * JavaScript's own engine backtracks, so that a pattern such as (a+)+$ takes twice as long for each character more. This one
 * backtracks too, in the same order and so with the same results, but remembers from which choice at which place no match was
 * found, and never tries it again (Davis et al. 2021, "Using Selective Memoization to Defeat Regular Expression Denial of
 * Service"). Without backreferences, whether a choice fails depends on nothing else.
 */

/** Where a match begins and ends, in UTF-16 units. */
export type Match = readonly [start: number, end: number];

/** Finds all matches from left to right, as `String.matchAll` does. */
export type Matcher = (text: string) => Match[];

/** Why a pattern is refused: what it must do, and what came. */
export class PatternProblem extends Error {}

const MAX_SOURCE = 4096;
const MAX_LITERAL = 256;
/** Repetitions are written out, `a{3}` as `aaa`. */
const MAX_NODES = 2048;
const MAX_CHOICES = 256;
const MAX_DEPTH = 32;

type Tree =
  | { readonly kind: 'set'; readonly source: string }
  | { readonly kind: 'sequence'; readonly parts: readonly Tree[] }
  | { readonly kind: 'choice'; readonly parts: readonly Tree[] }
  | {
      readonly kind: 'repeat';
      readonly part: Tree;
      readonly least: number;
      readonly most: number;
      readonly lazy: boolean;
    }
  | { readonly kind: 'look'; readonly part: Tree; readonly behind: boolean; readonly negative: boolean }
  | { readonly kind: 'place'; readonly holds: Place };

/** Whether a place in the text is one of a kind. */
type Place = (text: string, at: number) => boolean;

type Node =
  | { readonly kind: 'set'; readonly set: CharacterSet; readonly next: Node }
  | { readonly kind: 'choice'; readonly id: number; readonly first: Node; second: Node }
  | { readonly kind: 'look'; readonly body: Node; readonly negative: boolean; readonly next: Node }
  | { readonly kind: 'place'; readonly holds: Place; readonly next: Node }
  | { readonly kind: 'end' };

const END: Node = { kind: 'end' };

/**
 * Compiles a regular expression of JavaScript, as with the flags g and u.
 *
 * @throws PatternProblem for what JavaScript cannot read, backreferences, lookbehind of more than one character, repetition of
 *   what may match nothing, and patterns that are too long
 */
export function compilePattern(source: string): Matcher {
  if (source.length > MAX_SOURCE) {
    throw new PatternProblem(`have at most ${MAX_SOURCE} characters, got ${source.length}`);
  }
  try {
    new RegExp(source, 'u');
  } catch (cause) {
    throw new PatternProblem('be a regular expression that JavaScript can read', { cause });
  }
  const program = new Compiler().compile(new Parser(source).parse(), END);
  return (text) => {
    const search = new Search(text);
    const found: Match[] = [];
    for (let at = 0; at <= text.length;) {
      const end = search.run(program, at, false);
      if (end >= 0) found.push([at, end]);
      at = end > at ? end : at + (at < text.length ? widthAt(text, at) : 1);
    }
    return found;
  };
}

/**
 * Matches a text as it stands.
 *
 * @throws PatternProblem for a text that is empty, too long, or not Unicode
 */
export function compileLiteral(literal: string): Matcher {
  if (literal === '') throw new PatternProblem('not be empty');
  if (literal.length > MAX_LITERAL) {
    throw new PatternProblem(`have at most ${MAX_LITERAL} characters, got ${literal.length}`);
  }
  if (hasLoneSurrogate(literal)) throw new PatternProblem('be Unicode, got half of a surrogate pair');
  return (text) => {
    const found: Match[] = [];
    for (let at = text.indexOf(literal); at >= 0; at = text.indexOf(literal, at + literal.length)) {
      found.push([at, at + literal.length]);
    }
    return found;
  };
}

export function hasLoneSurrogate(text: string): boolean {
  return /\p{Surrogate}/u.test(text);
}

function widthAt(text: string, at: number): number {
  return text.codePointAt(at)! > 0xffff ? 2 : 1;
}

function isWordCharacter(text: string, at: number): boolean {
  return /^\w$/.test(text.charAt(at));
}

const isBoundary: Place = (text, at) => isWordCharacter(text, at - 1) !== isWordCharacter(text, at);

/** Reads the source of a pattern, whose syntax is known to be right. */
class Parser {
  readonly #source: string;
  #at = 0;

  constructor(source: string) {
    this.#source = source;
  }

  parse(): Tree {
    return this.#alternatives(0);
  }

  #alternatives(depth: number): Tree {
    if (depth > MAX_DEPTH) throw new PatternProblem(`nest at most ${MAX_DEPTH} groups, got more`);
    const parts: Tree[] = [];
    do parts.push(this.#sequence(depth));
    while (this.#take('|'));
    return parts.length === 1 ? parts[0] : { kind: 'choice', parts };
  }

  #sequence(depth: number): Tree {
    const parts: Tree[] = [];
    while (this.#at < this.#source.length && !'|)'.includes(this.#source[this.#at])) {
      parts.push(this.#repeated(this.#term(depth)));
    }
    return parts.length === 1 ? parts[0] : { kind: 'sequence', parts };
  }

  #repeated(part: Tree): Tree {
    const [, sign, from, range, to] = this.#match(/([*+?])|\{(\d+)(?:(,)(\d*))?\}/y) ?? [];
    if (sign === undefined && from === undefined) return part;
    if (isNullable(part)) throw new PatternProblem('repeat nothing that may be empty');
    const least = sign === undefined ? Number(from) : sign === '+' ? 1 : 0;
    const bound = range === undefined ? least : to === '' ? Infinity : Number(to);
    const most = sign === undefined ? bound : sign === '?' ? 1 : Infinity;
    return { kind: 'repeat', part, least, most, lazy: this.#take('?') };
  }

  #term(depth: number): Tree {
    const [group, name] = this.#match(/\((?:\?(:|<?[=!]|<[^=!>][^>]*>|.))?/suy) ?? [];
    if (group !== undefined) {
      if (name !== undefined && !/^(?::|<?[=!]|<.+>)$/su.test(name)) {
        throw new PatternProblem('have no flags but (?i:…) around plain letters');
      }
      const part = this.#alternatives(depth + 1);
      this.#take(')');
      if (name === undefined || !/^<?[=!]$/.test(name)) return part;
      const behind = name.startsWith('<');
      if (behind && part.kind !== 'set') throw new PatternProblem('look behind for one character at most');
      return { kind: 'look', part, behind, negative: name.endsWith('!') };
    }
    if (this.#take('^')) return { kind: 'place', holds: (_, at) => at === 0 };
    if (this.#take('$')) return { kind: 'place', holds: (text, at) => at === text.length };
    if (this.#take('\\b')) return { kind: 'place', holds: isBoundary };
    if (this.#take('\\B')) return { kind: 'place', holds: (text, at) => !isBoundary(text, at) };
    if (this.#match(/\\[1-9k]/y)) throw new PatternProblem('have no backreferences');
    // a class, an escape (of a surrogate pair, of a code point, of a class of characters, or of one character), or a character
    const set =
      /\[(?:\\.|[^\]\\])*\]|\\u[dD][89abAB]\p{AHex}{2}\\u[dD][c-fC-F]\p{AHex}{2}|\\u\{\p{AHex}+\}|\\u\p{AHex}{4}|\\x\p{AHex}{2}|\\c[A-Za-z]|\\[pP]\{[^}]*\}|\\.|./suy;
    return { kind: 'set', source: this.#match(set)![0] };
  }

  #take(text: string): boolean {
    if (!this.#source.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #match(sticky: RegExp): RegExpExecArray | null {
    sticky.lastIndex = this.#at;
    const match = sticky.exec(this.#source);
    if (match) this.#at = sticky.lastIndex;
    return match;
  }
}

/** Whether a tree may match the empty text. */
function isNullable(tree: Tree): boolean {
  switch (tree.kind) {
    case 'set':
      return false;
    case 'sequence':
      return tree.parts.every(isNullable);
    case 'choice':
      return tree.parts.some(isNullable);
    case 'repeat':
      return tree.least === 0;
    case 'look':
    case 'place':
      return true;
  }
}

/** Turns trees into nodes, each of which knows what follows it. */
class Compiler {
  readonly #sets = new Map<string, CharacterSet>();
  #nodes = 0;
  #choices = 0;

  compile(tree: Tree, next: Node): Node {
    if (++this.#nodes > MAX_NODES) throw new PatternProblem('be shorter with its repetitions written out');
    switch (tree.kind) {
      case 'set':
        return { kind: 'set', set: this.#setOf(tree.source), next };
      case 'sequence':
        return tree.parts.reduceRight((after, part) => this.compile(part, after), next);
      case 'choice':
        return tree.parts
          .map((part) => this.compile(part, next))
          .reduceRight((second, first) => this.#choose(first, second));
      case 'repeat':
        return this.#compileRepeat(tree, next);
      case 'look':
        if (tree.behind) return this.#compileBehind(tree, next);
        return { kind: 'look', body: this.compile(tree.part, END), negative: tree.negative, next };
      case 'place':
        return { kind: 'place', holds: tree.holds, next };
    }
  }

  #compileRepeat({ part, least, most, lazy }: Tree & { kind: 'repeat' }, next: Node): Node {
    const option = (again: (after: Node) => Node, after: Node): Node =>
      lazy ? this.#choose(next, again(after)) : this.#choose(again(after), next);
    let first = next;
    if (most === Infinity) {
      const loop = this.#choose(next, next) as Node & { first: Node; second: Node };
      const body = this.compile(part, loop);
      [loop.first, loop.second] = lazy ? [next, body] : [body, next];
      first = loop;
    } else {
      for (let i = least; i < most; i++) first = option((after) => this.compile(part, after), first);
    }
    for (let i = 0; i < least; i++) first = this.compile(part, first);
    return first;
  }

  #compileBehind({ part, negative }: Tree & { kind: 'look' }, next: Node): Node {
    const set = this.#setOf((part as Tree & { kind: 'set' }).source);
    const holds: Place = (text, at) => {
      const isPair = at > 1 && text.codePointAt(at - 2)! > 0xffff;
      return (at > 0 && set.has(text.codePointAt(isPair ? at - 2 : at - 1)!)) !== negative;
    };
    return { kind: 'place', holds, next };
  }

  #choose(first: Node, second: Node): Node {
    if (this.#choices === MAX_CHOICES) throw new PatternProblem(`have at most ${MAX_CHOICES} choices, got more`);
    return { kind: 'choice', id: this.#choices++, first, second };
  }

  #setOf(source: string): CharacterSet {
    const set = this.#sets.get(source) ?? new CharacterSet(source);
    this.#sets.set(source, set);
    return set;
  }
}

/** A class of characters, `[^\s\p{L}]`, or one character. */
class CharacterSet {
  readonly #pattern: RegExp;
  /** For blocks of 256 code points whether each is a member: 1 if so, 2 if not, 0 if that was never asked. */
  readonly #blocks: (Uint8Array | undefined)[] = [];

  constructor(source: string) {
    this.#pattern = new RegExp(`^(?:${source})$`, 'u');
  }

  has(codePoint: number): boolean {
    const block = (this.#blocks[codePoint >> 8] ??= new Uint8Array(256));
    const known = block[codePoint & 255];
    if (known !== 0) return known === 1;
    const isMember = this.#pattern.test(String.fromCodePoint(codePoint));
    block[codePoint & 255] = isMember ? 1 : 2;
    return isMember;
  }
}

const FAILS = 1;
const MATCHES = 2;

/** A choice on the way to where the search is, and where in the text it was met. */
interface Step {
  readonly choice: Node & { kind: 'choice' };
  readonly at: number;
  isSecond: boolean;
}

/** The search of one text. */
class Search {
  readonly #text: string;
  /** What is known of each choice at each place, in two bits. */
  readonly #known: (Uint8Array | undefined)[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  /**
   * Returns where the match that begins at `start` ends, or −1 if there is none.
   *
   * @param isLook whether it matters only that there is one, so that matches may be remembered too
   */
  run(first: Node, start: number, isLook: boolean): number {
    const text = this.#text;
    const steps: Step[] = [];
    let node = first;
    let at = start;
    for (;;) {
      let fails = false;
      switch (node.kind) {
        case 'set': {
          const codePoint = text.codePointAt(at);
          fails = codePoint === undefined || !node.set.has(codePoint);
          if (!fails) at += codePoint! > 0xffff ? 2 : 1;
          break;
        }
        case 'place':
          fails = !node.holds(text, at);
          break;
        case 'look':
          fails = this.run(node.body, at, true) >= 0 === node.negative;
          break;
        case 'choice': {
          const known = this.#recall(node.id, at);
          fails = known === FAILS;
          if (known !== 0) break;
          steps.push({ choice: node, at, isSecond: false });
          node = node.first;
          continue;
        }
        case 'end':
          break;
      }
      if (!fails && (node.kind === 'end' || node.kind === 'choice')) {
        // a choice gets here only if it is known to match
        if (isLook) for (const step of steps) this.#remember(step.choice.id, step.at, MATCHES);
        return at;
      }
      if (!fails) {
        node = (node as Node & { next: Node }).next;
        continue;
      }
      while (steps.at(-1)?.isSecond) {
        const { choice, at: place } = steps.pop()!;
        this.#remember(choice.id, place, FAILS);
      }
      const last = steps.at(-1);
      if (!last) return -1;
      last.isSecond = true;
      at = last.at;
      node = last.choice.second;
    }
  }

  #recall(choice: number, at: number): number {
    return ((this.#known[choice]?.[at >> 2] ?? 0) >> (2 * (at & 3))) & 3;
  }

  #remember(choice: number, at: number, result: number): void {
    const known = (this.#known[choice] ??= new Uint8Array((this.#text.length >> 2) + 1));
    known[at >> 2] |= result << (2 * (at & 3));
  }
}
