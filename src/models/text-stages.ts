/** The stages that come before byte-pair encoding in tokenizer.json, under their names in Hugging Face's tokenizers. */
import { LoadError, quote } from '../gpu/errors.ts';
import type { Fields } from './fields.ts';
import { compileLiteral, compilePattern, PatternProblem, type Matcher } from './pattern.ts';

/** Changes one section of the text. */
export type Normaliser = (text: string) => string;

/** Splits one section of the text into words, which are then encoded one by one; `isFirst` is false after a special token. */
export type PreTokenizer = (text: string, isFirst: boolean) => readonly string[];

/** `limit` is the number of UTF-16 units that the stage may make. */
type TextStage = (text: string, limit: number) => string;
type WordStage = (words: readonly string[], isFirst: boolean) => string[];

/** A stretch of a text, and whether the pattern of a split matched it. */
interface Stretch {
  text: string;
  isMatch: boolean;
}

/** The pattern of GPT-2's words. */
const GPT2_WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** Most stages of one kind. Real tokenizers have fewer than twenty. */
const MAX_STAGES = 128;
/** Stages may make a text this many times as long, and longer by `MAX_ADDED`. One character becomes at most 18 in NFKC. */
const MAX_GROWTH = 64;
const MAX_ADDED = 1024;

/** The stages of a `Sequence`, in which further ones may lie, or the one stage that is none. */
export function listStages(fields: Fields | undefined, list: string): Fields[] {
  if (!fields) return [];
  if (fields.text('type') !== 'Sequence') return [fields];
  const stages = fields.children(list).flatMap((stage) => listStages(stage, list));
  return stages.length > MAX_STAGES ? fields.fail(list, `hold at most ${MAX_STAGES} stages`) : stages;
}

export function readNormaliser(fields: Fields | undefined): Normaliser {
  const stages = listStages(fields, 'normalizers').map(readTextStage);
  return (text) => {
    const limit = limitOf(text.length);
    let result = text;
    for (const stage of stages) {
      result = stage(result, limit);
      checkGrowth(result.length, limit);
    }
    return result;
  };
}

function readTextStage(fields: Fields): TextStage {
  const type = fields.text('type');
  switch (type) {
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return (text) => text.normalize(type);
    case 'Lowercase':
      return (text) => text.toLowerCase();
    case 'Prepend': {
      const added = fields.text('prepend');
      return (text) => (text === '' ? text : added + text);
    }
    case 'Replace':
      return readReplace(fields);
    default:
      return fields.fail('type', 'be Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Prepend or Replace');
  }
}

/** The number of UTF-16 units that stages may make of so many. */
export function limitOf(length: number): number {
  return MAX_GROWTH * length + MAX_ADDED;
}

function checkGrowth(length: number, limit: number): void {
  if (length <= limit) return;
  throw new LoadError(
    `tokenizer: the stages in tokenizer.json must make at most ${limit} characters of this text, got at least ${length}`,
  );
}

export function readReplace(fields: Fields): TextStage {
  const match = readPattern(fields);
  const content = fields.text('content');
  return (text, limit) => {
    const found = match(text);
    const length = found.reduce(
      (sum, [start, end]) => sum - (end - start),
      text.length + found.length * content.length,
    );
    checkGrowth(length, limit);
    const parts: string[] = [];
    let at = 0;
    for (const [start, end] of found) {
      parts.push(text.slice(at, start), content);
      at = end;
    }
    return found.length === 0 ? text : parts.join('') + text.slice(at);
  };
}

export function readPreTokenizer(fields: Fields | undefined): PreTokenizer {
  const stages = listStages(fields, 'pretokenizers').map(readWordStage);
  return (text, isFirst) => {
    const limit = limitOf(text.length);
    let words = [text];
    for (const stage of stages) {
      words = stage(words, isFirst);
      // one stage makes a character four at most (a space and three bytes), so it can be checked afterwards
      const length = words.reduce((sum, word) => sum + word.length, 0);
      checkGrowth(length, limit);
    }
    return words;
  };
}

function readWordStage(fields: Fields): WordStage {
  const type = fields.text('type');
  switch (type) {
    case 'Split': {
      const join = joinerOf(fields.text('behavior'), fields);
      const match = readPattern(fields);
      const inverts = fields.flag('invert');
      return (words) => words.flatMap((word) => join(stretches(word, match, inverts)));
    }
    case 'Digits': {
      const match = compilePattern(fields.flag('individual_digits') ? '\\p{N}' : '\\p{N}+');
      return (words) => words.flatMap((word) => isolated(stretches(word, match)));
    }
    case 'ByteLevel':
      return readByteLevel(fields);
    case 'Metaspace':
      return readMetaspace(fields);
    default:
      return fields.fail('type', 'be Sequence, Split, Digits, ByteLevel or Metaspace');
  }
}

/** Turns each byte into a visible character. A byte-level vocabulary is written in these characters. */
function readByteLevel(fields: Fields): WordStage {
  const addsSpace = fields.flag('add_prefix_space', true);
  const match = fields.flag('use_regex', true) ? compilePattern(translate(GPT2_WORDS)) : undefined;
  return (words) =>
    words
      .map((word) => (addsSpace && !word.startsWith(' ') ? ` ${word}` : word))
      .flatMap((word) => (match ? isolated(stretches(word, match)) : [word]))
      .map(toByteCharacters);
}

/** The character that stands for a space in SentencePiece's pieces, and when the tokenizer puts one in front of a text. */
export function readSpace(fields: Fields): { readonly space: string; readonly scheme: string } {
  const space = fields.text('replacement', '▁');
  if (Array.from(space).length !== 1) fields.fail('replacement', 'be one character');
  const scheme = fields.text('prepend_scheme', fields.flag('add_prefix_space', true) ? 'always' : 'never');
  if (!['always', 'first', 'never'].includes(scheme)) fields.fail('prepend_scheme', 'be always, first or never');
  return { space, scheme };
}

/** SentencePiece's stage: replaces each space by a visible character, and puts one in front. */
function readMetaspace(fields: Fields): WordStage {
  const { space, scheme } = readSpace(fields);
  const splits = fields.flag('split', true);
  const match = compile(fields, compileLiteral, space);
  return (words, isFirst) =>
    words.flatMap((word, i) => {
      const spaced = word.replaceAll(' ', () => space);
      const wants = scheme === 'always' || (scheme === 'first' && isFirst && i === 0);
      const text = wants && !spaced.startsWith(space) ? space + spaced : spaced;
      return splits ? mergedWithNext(stretches(text, match)) : [text];
    });
}

function stretches(text: string, match: Matcher, inverts = false): Stretch[] {
  const found: Stretch[] = [];
  const add = (from: number, to: number, isMatch: boolean): void => {
    if (to > from) found.push({ text: text.slice(from, to), isMatch: isMatch !== inverts });
  };
  let at = 0;
  for (const [start, end] of match(text)) {
    add(at, start, false);
    add(start, end, true);
    at = end;
  }
  add(at, text.length, false);
  return found;
}

function joinerOf(behavior: string, fields: Fields): (found: readonly Stretch[]) => string[] {
  switch (behavior) {
    case 'Isolated':
      return isolated;
    case 'Removed':
      return (found) => isolated(found.filter(({ isMatch }) => !isMatch));
    case 'MergedWithNext':
      return mergedWithNext;
    case 'MergedWithPrevious':
      return mergedWithPrevious;
    default:
      return fields.fail('behavior', 'be Isolated, Removed, MergedWithNext or MergedWithPrevious');
  }
}

function isolated(found: readonly Stretch[]): string[] {
  return found.map(({ text }) => text);
}

function mergedWithNext(found: readonly Stretch[]): string[] {
  const words: string[] = [];
  for (const [i, { text, isMatch }] of found.entries()) {
    if (!isMatch && found[i - 1]?.isMatch) words[words.length - 1] += text;
    else words.push(text);
  }
  return words;
}

function mergedWithPrevious(found: readonly Stretch[]): string[] {
  const words: string[] = [];
  for (const [i, { text, isMatch }] of found.entries()) {
    if (isMatch && found[i - 1] && !found[i - 1].isMatch) words[words.length - 1] += text;
    else words.push(text);
  }
  return words;
}

/** Reads what a stage looks for: a text as it stands, or a regular expression. */
function readPattern(fields: Fields): Matcher {
  const pattern = fields.child('pattern') ?? fields.fail('pattern', 'be there');
  const plain = pattern.value('String');
  if (typeof plain === 'string') return compile(fields, compileLiteral, plain);
  return compile(fields, (source) => compilePattern(translate(source)), pattern.text('Regex'));
}

function compile(fields: Fields, compiler: (source: string) => Matcher, source: string): Matcher {
  try {
    return compiler(source);
  } catch (cause) {
    if (!(cause instanceof PatternProblem)) throw cause;
    throw new LoadError(`${fields.call}: the pattern in ${fields.place} must ${cause.message}, got ${quote(source)}`, {
      cause,
    });
  }
}

/** Oniguruma's white space is Unicode's, unlike JavaScript's. */
const SPACES: Readonly<Record<string, string>> = { '\\s': '\\p{White_Space}', '\\S': '\\P{White_Space}' };

/** Translates Oniguruma's \s, and (?i:…) around plain letters, which older JavaScript lacks. */
function translate(source: string): string {
  return source
    .replace(/\(\?i:([^()\\[\]]*)\)/g, (_, group: string) => `(?:${group.replace(/[a-z]/gi, eitherCase)})`)
    .replace(/\\./gsu, (escape) => SPACES[escape] ?? escape);
}

function eitherCase(letter: string): string {
  return `[${letter.toLowerCase()}${letter.toUpperCase()}]`;
}

let byteCharacters: readonly string[] | undefined;
let byteOf: ReadonlyMap<string, number> | undefined;

/** GPT-2's character for each byte: printable Latin-1 stands for itself, other bytes take characters from U+0100 on. */
function charactersOfBytes(): readonly string[] {
  let next = 0x100;
  byteCharacters ??= Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
    return String.fromCharCode(isPrintable ? byte : next++);
  });
  return byteCharacters;
}

function toByteCharacters(text: string): string {
  const characters = charactersOfBytes();
  return Array.from(new TextEncoder().encode(text), (byte) => characters[byte]).join('');
}

/** Returns the bytes that a byte-level piece stands for, and any other piece as it is. */
export function fromByteCharacters(piece: string): Uint8Array | string {
  const table = (byteOf ??= new Map(charactersOfBytes().map((character, byte) => [character, byte])));
  const bytes = Array.from(piece, (character) => table.get(character));
  return bytes.every((byte) => byte !== undefined) ? Uint8Array.from(bytes) : piece;
}
