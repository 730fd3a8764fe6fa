/**
 * Regular expressions from files, matched in time linear in the text.
 *
 * JavaScript's own engine backtracks, so that a pattern such as (a+)+$ takes twice as long for each character more. This one
 * backtracks too, in the same order and so with the same results, but goes on from no node at one place of the text twice.
 * Without backreferences, whether that fails depends on nothing else. It suffices to remember the nodes that several others
 * lead to (Davis et al. 2021, "Using Selective Memoization to Defeat Regular Expression Denial of Service"). So a
 * character takes about as many steps as the pattern has nodes at most, and about 64 bytes.
 */
import { LoadError } from '../gpu/errors.ts';

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
/** Choices and lookaheads. Each takes at most two bits for each character of the text. */
const MAX_CHOICES = 256;
const MAX_DEPTH = 32;
/** Most bytes that the search of one text may take. */
const MAX_BYTES = 2 ** 30;

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

type Node = SetNode | ChoiceNode | LookNode | PlaceNode | EndNode;

interface Base {
  /** A number if several nodes lead here, else −1. */
  join: number;
}
interface SetNode extends Base {
  readonly kind: 'set';
  readonly set: CharacterSet;
  readonly next: Node;
}
interface ChoiceNode extends Base {
  readonly kind: 'choice';
  /** Lower than those of the choices that lead here without a character between. */
  id: number;
  first: Node;
  second: Node;
}
interface LookNode extends Base {
  readonly kind: 'look';
  readonly id: number;
  readonly body: LookBody;
  readonly negative: boolean;
  readonly next: Node;
}
interface PlaceNode extends Base {
  readonly kind: 'place';
  readonly holds: Place;
  readonly next: Node;
}
interface EndNode extends Base {
  readonly kind: 'end';
}

/** What a lookahead looks for: its nodes, each after those that it leads to without a character between. */
interface LookBody {
  readonly nodes: readonly Node[];
  /** Where in `nodes` is the one to begin with, and for each those that it leads to; only choices have a second. */
  readonly start: number;
  readonly firsts: readonly number[];
  readonly seconds: readonly number[];
}

interface Program {
  readonly start: Node;
  readonly choices: readonly ChoiceNode[];
  readonly joins: number;
  readonly looks: number;
}

const END: Node = { kind: 'end', join: -1 };

/**
 * Compiles a regular expression of JavaScript, as with the flags g and u. The matcher throws LoadError for a text so long that
 * its search would take more than 1 GiB.
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
  const program = new Compiler().program(new Parser(source).parse());
  return (text) => {
    const search = new Search(program, text);
    const found: Match[] = [];
    for (let at = 0; at <= text.length;) {
      const end = search.run(at);
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
  #looks = 0;

  program(tree: Tree): Program {
    const start = this.#compile(tree, END);
    const choices = inOrder(start).filter((node) => node.kind === 'choice');
    choices.forEach((choice, id) => (choice.id = id));
    return { start, choices, joins: numberJoins(start), looks: this.#looks };
  }

  #compile(tree: Tree, next: Node): Node {
    if (++this.#nodes > MAX_NODES) throw new PatternProblem('be shorter with its repetitions written out');
    switch (tree.kind) {
      case 'set':
        return { kind: 'set', set: this.#setOf(tree.source), next, join: -1 };
      case 'sequence':
        return tree.parts.reduceRight((after, part) => this.#compile(part, after), next);
      case 'choice':
        return tree.parts
          .map((part) => this.#compile(part, next))
          .reduceRight((second, first) => this.#choose(first, second));
      case 'repeat':
        return this.#compileRepeat(tree, next);
      case 'look':
        return tree.part.kind === 'set'
          ? { kind: 'place', holds: this.#neighbour(tree, tree.part), next, join: -1 }
          : this.#compileLook(tree, next);
      case 'place':
        return { kind: 'place', holds: tree.holds, next, join: -1 };
    }
  }

  #compileRepeat({ part, least, most, lazy }: Tree & { kind: 'repeat' }, next: Node): Node {
    const option = (again: (after: Node) => Node, after: Node): Node =>
      lazy ? this.#choose(next, again(after)) : this.#choose(again(after), next);
    let first = next;
    if (most === Infinity) {
      const loop = this.#choose(next, next);
      const body = this.#compile(part, loop);
      [loop.first, loop.second] = lazy ? [next, body] : [body, next];
      first = loop;
    } else {
      for (let i = least; i < most; i++) first = option((after) => this.#compile(part, after), first);
    }
    for (let i = 0; i < least; i++) first = this.#compile(part, first);
    return first;
  }

  #compileLook({ part, negative }: Tree & { kind: 'look' }, next: Node): Node {
    this.#countChoice();
    const start = this.#compile(part, END);
    const nodes = inOrder(start);
    const indices = new Map(nodes.map((node, i) => [node, i]));
    const follower = (node: Node, i: number): number => indices.get(followers(node)[i]) ?? 0;
    const firsts = nodes.map((node) => follower(node, 0));
    const seconds = nodes.map((node) => follower(node, 1));
    const body = { nodes, start: indices.get(start)!, firsts, seconds };
    return { kind: 'look', id: this.#looks++, body, negative, next, join: -1 };
  }

  /** Whether the character before a place, or behind it, is one of a set. */
  #neighbour({ behind, negative }: Tree & { kind: 'look' }, part: Tree & { kind: 'set' }): Place {
    const set = this.#setOf(part.source);
    return (text, at) => {
      const isPair = behind && at > 1 && text.codePointAt(at - 2)! > 0xffff;
      const codePoint = text.codePointAt(behind ? (isPair ? at - 2 : at - 1) : at);
      return (codePoint !== undefined && set.has(codePoint)) !== negative;
    };
  }

  #choose(first: Node, second: Node): ChoiceNode {
    this.#countChoice();
    return { kind: 'choice', id: 0, first, second, join: -1 };
  }

  #countChoice(): void {
    if (++this.#choices > MAX_CHOICES) {
      throw new PatternProblem(`have at most ${MAX_CHOICES} choices and lookaheads, got more`);
    }
  }

  #setOf(source: string): CharacterSet {
    const set = this.#sets.get(source) ?? new CharacterSet(source);
    this.#sets.set(source, set);
    return set;
  }
}

/** The nodes that a node leads to. */
function followers(node: Node): readonly Node[] {
  if (node.kind === 'end') return [];
  return node.kind === 'choice' ? [node.first, node.second] : [node.next];
}

/** All nodes from one on, each after those that it leads to without a character between. */
function inOrder(start: Node): Node[] {
  const known = new Set<Node>();
  const order: Node[] = [];
  const starts = [start];
  const visit = (node: Node): void => {
    if (known.has(node)) return;
    known.add(node);
    if (node.kind === 'set') starts.push(node.next);
    else followers(node).forEach(visit);
    order.push(node);
  };
  for (const node of starts) visit(node);
  return order;
}

/** Numbers the nodes that can be reached from several, or from the start and another, and returns how many there are. */
function numberJoins(start: Node): number {
  const known = new Set<Node>();
  const joins = new Set<Node>();
  for (const node of [start, ...inOrder(start).flatMap(followers)]) {
    if (known.has(node) && node !== END) joins.add(node);
    known.add(node);
  }
  [...joins].forEach((node, join) => (node.join = join));
  return joins.size;
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

/** The search of one text. */
class Search {
  readonly #program: Program;
  readonly #text: string;
  /**
   * For each place in the text, in bits: which choices have their second way open, and then which joins were met. A way is open
   * only until all before it have failed, so the last one opened is found by looking backwards, and what is met again has failed.
   */
  readonly #table: Int32Array;
  readonly #choiceWords: number;
  readonly #words: number;
  /** For each lookahead and each place, in bits, whether its body matches there. */
  readonly #seen: (Uint8Array | undefined)[] = [];

  constructor(program: Program, text: string) {
    this.#program = program;
    this.#text = text;
    this.#choiceWords = Math.ceil(program.choices.length / 32);
    this.#words = this.#choiceWords + Math.ceil(program.joins / 32);
    const places = text.length + 1;
    const bytes = 4 * this.#words * places + program.looks * Math.ceil(places / 8);
    if (bytes > MAX_BYTES) {
      throw new LoadError(
        `tokenizer: a pattern must take at most ${MAX_BYTES} bytes to match a text, got ${bytes} for ${text.length} characters`,
      );
    }
    this.#table = new Int32Array(this.#words * places);
  }

  /** Returns where the match that begins at `start` ends, or −1 if there is none. No start may be before the end of a match. */
  run(start: number): number {
    const { choices, start: first } = this.#program;
    const text = this.#text;
    let node = first;
    let at = start;
    for (;;) {
      if (node.join < 0 || this.#isNew(node.join, at)) {
        switch (node.kind) {
          case 'set': {
            const codePoint = text.codePointAt(at);
            if (codePoint === undefined || !node.set.has(codePoint)) break;
            at += codePoint > 0xffff ? 2 : 1;
            node = node.next;
            continue;
          }
          case 'place':
            if (!node.holds(text, at)) break;
            node = node.next;
            continue;
          case 'look':
            if (this.#sees(node, at) === node.negative) break;
            node = node.next;
            continue;
          case 'choice':
            this.#table[at * this.#words + (node.id >> 5)] |= 1 << (node.id & 31);
            node = node.first;
            continue;
          case 'end':
            // the next search may begin here, where what was met has not failed
            this.#table.fill(0, at * this.#words, (at + 1) * this.#words);
            return at;
        }
      }
      let choice = this.#takeOpen(at);
      while (choice < 0 && --at >= start) choice = this.#takeOpen(at);
      if (choice < 0) return -1;
      node = choices[choice].second;
    }
  }

  /** Whether a join is met for the first time at a place. */
  #isNew(join: number, at: number): boolean {
    const word = at * this.#words + this.#choiceWords + (join >> 5);
    const before = this.#table[word];
    this.#table[word] = before | (1 << (join & 31));
    return ((before >> (join & 31)) & 1) === 0;
  }

  /** The choice opened last at a place, which is closed now, or −1 if none is open. */
  #takeOpen(at: number): number {
    const row = at * this.#words;
    for (let i = 0; i < this.#choiceWords; i++) {
      const open = this.#table[row + i];
      if (open === 0) continue;
      this.#table[row + i] = open & (open - 1);
      return 32 * i + 31 - Math.clz32(open & -open);
    }
    return -1;
  }

  #sees(look: LookNode, at: number): boolean {
    const seen = (this.#seen[look.id] ??= this.#look(look.body));
    return ((seen[at >> 3] >> (at & 7)) & 1) === 1;
  }

  /** Finds where a body matches, from the end of the text to its beginning. */
  #look({ nodes, start, firsts, seconds }: LookBody): Uint8Array {
    const text = this.#text;
    const found = new Uint8Array((text.length >> 3) + 1);
    // for this place and the next two, from which nodes there is a match
    const rows = Array.from({ length: 3 }, () => new Uint8Array(nodes.length));
    for (let at = text.length; at >= 0; at--) {
      const here = rows[at % 3];
      const codePoint = text.codePointAt(at) ?? -1;
      const after = rows[(at + (codePoint > 0xffff ? 2 : 1)) % 3];
      for (const [i, node] of nodes.entries()) {
        let matches: boolean;
        switch (node.kind) {
          case 'set':
            matches = after[firsts[i]] === 1 && codePoint >= 0 && node.set.has(codePoint);
            break;
          case 'place':
            matches = here[firsts[i]] === 1 && node.holds(text, at);
            break;
          case 'look':
            matches = here[firsts[i]] === 1 && this.#sees(node, at) !== node.negative;
            break;
          case 'choice':
            matches = here[firsts[i]] === 1 || here[seconds[i]] === 1;
            break;
          case 'end':
            matches = true;
        }
        here[i] = matches ? 1 : 0;
      }
      if (here[start] === 1) found[at >> 3] |= 1 << (at & 7);
    }
    return found;
  }
}
