/** The stages that come before byte-pair encoding in tokenizer.json, under their names in Hugging Face's tokenizers. */
import { LoadError } from '../gpu/errors.ts';
import type { Fields } from './fields.ts';

/** Changes one section of the text; `isFirst` is false after a special token. */
export type Normaliser = (text: string, isFirst: boolean) => string;

/** Splits one section of the text into words, which are then encoded one by one. */
export type PreTokenizer = (words: readonly string[], isFirst: boolean) => string[];

/** A stretch of a text, and whether the pattern of a split matched it. */
interface Stretch {
  text: string;
  isMatch: boolean;
}

/** The pattern of GPT-2's words. */
const GPT2_WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

export function readNormaliser(fields: Fields | undefined): Normaliser {
  if (!fields) return (text) => text;
  const type = fields.text('type');
  switch (type) {
    case 'Sequence': {
      const stages = fields.children('normalizers').map(readNormaliser);
      return (text, isFirst) => stages.reduce((result, stage) => stage(result, isFirst), text);
    }
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

export function readReplace(fields: Fields): (text: string) => string {
  const pattern = new RegExp(readPattern(fields), 'gu');
  const content = fields.text('content');
  return (text) => text.replace(pattern, () => content);
}

export function readPreTokenizer(fields: Fields | undefined): PreTokenizer {
  if (!fields) return (words) => [...words];
  const type = fields.text('type');
  switch (type) {
    case 'Sequence': {
      const stages = fields.children('pretokenizers').map(readPreTokenizer);
      return (words, isFirst) => stages.reduce<string[]>((result, stage) => stage(result, isFirst), [...words]);
    }
    case 'Split': {
      const join = joinerOf(fields.text('behavior'), fields);
      const pattern = new RegExp(readPattern(fields), 'gu');
      const inverts = fields.flag('invert');
      return (words) => words.flatMap((word) => join(stretches(word, pattern, inverts)));
    }
    case 'Digits': {
      const pattern = fields.flag('individual_digits') ? /\p{N}/gu : /\p{N}+/gu;
      return (words) => words.flatMap((word) => isolated(stretches(word, pattern)));
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
function readByteLevel(fields: Fields): PreTokenizer {
  const addsSpace = fields.flag('add_prefix_space', true);
  const pattern = fields.flag('use_regex', true) ? new RegExp(translate(GPT2_WORDS), 'gu') : undefined;
  return (words) =>
    words
      .map((word) => (addsSpace && !word.startsWith(' ') ? ` ${word}` : word))
      .flatMap((word) => (pattern ? isolated(stretches(word, pattern)) : [word]))
      .map(toByteCharacters);
}

/** SentencePiece's stage: replaces each space by a visible character, and puts one in front. */
function readMetaspace(fields: Fields): PreTokenizer {
  const space = fields.text('replacement', '▁');
  const scheme = fields.text('prepend_scheme', fields.flag('add_prefix_space', true) ? 'always' : 'never');
  if (!['always', 'first', 'never'].includes(scheme)) fields.fail('prepend_scheme', 'be always, first or never');
  const splits = fields.flag('split', true);
  const pattern = new RegExp(escape(space), 'gu');
  return (words, isFirst) =>
    words.flatMap((word, i) => {
      const spaced = word.replaceAll(' ', space);
      const wants = scheme === 'always' || (scheme === 'first' && isFirst && i === 0);
      const text = wants && !spaced.startsWith(space) ? space + spaced : spaced;
      return splits ? mergedWithNext(stretches(text, pattern)) : [text];
    });
}

function stretches(text: string, pattern: RegExp, inverts = false): Stretch[] {
  const found: Stretch[] = [];
  const add = (from: number, to: number, isMatch: boolean): void => {
    if (to > from) found.push({ text: text.slice(from, to), isMatch: isMatch !== inverts });
  };
  let end = 0;
  for (const { index, 0: match } of text.matchAll(pattern)) {
    add(end, index, false);
    add(index, index + match.length, true);
    end = index + match.length;
  }
  add(end, text.length, false);
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

/** Reads the source of a JavaScript regular expression, for the flag u. */
function readPattern(fields: Fields): string {
  const pattern = fields.child('pattern') ?? fields.fail('pattern', 'be there');
  const plain = pattern.value('String');
  if (typeof plain === 'string') return escape(plain);
  const source = translate(pattern.text('Regex'));
  try {
    new RegExp(source, 'u');
  } catch (cause) {
    throw new LoadError(
      `${fields.call}: the pattern in ${fields.place} must be a regular expression that JavaScript can read, got ` +
        `${pattern.shown('Regex')}`,
      { cause },
    );
  }
  return source;
}

/** Translates Oniguruma's \s, which is Unicode's white space unlike JavaScript's, and (?i:…), which older JavaScript lacks. */
function translate(source: string): string {
  return source
    .replace(/\(\?i:([^()\\[\]]*)\)/g, (_, group: string) => `(?:${group.replace(/[a-z]/gi, eitherCase)})`)
    .replaceAll('\\s', '\\p{White_Space}')
    .replaceAll('\\S', '\\P{White_Space}');
}

function eitherCase(letter: string): string {
  return `[${letter.toLowerCase()}${letter.toUpperCase()}]`;
}

export function escape(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
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
