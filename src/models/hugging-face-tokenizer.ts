import { quote } from '../gpu/errors.ts';
import { isToken, parseFields, type Fields } from './fields.ts';
import { mergePairs, type Merge } from './pair-merging.ts';
import { hasLoneSurrogate } from './pattern.ts';
import {
  fromByteCharacters,
  limitOf,
  listStages,
  readNormaliser,
  readPreTokenizer,
  readReplace,
  readSpace,
} from './text-stages.ts';
import { checkText, decodeAll, TextStream, type Tokenizer } from './tokenizer.ts';
import { compileWords } from './word-search.ts';

const CALL = 'readHuggingFaceTokenizer';
const BYTE_PIECE = /^<0x([0-9A-F]{2})>$/;
/** Most characters of all added tokens together. Real tokenizers have some thousands. */
const MAX_ADDED_CHARACTERS = 2 ** 22;
/** Most pieces, and most merges: what a Map can hold. */
const MAX_PIECES = 2 ** 24;
/** Most tokens that a template puts in front of a text. */
const MAX_PREFIX = 1024;

/** A token that is found in the text before anything else happens to it. */
interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Whether it is left out of decoded text. */
  readonly isSpecial: boolean;
  /** Whether it swallows white space before it, and after it. */
  readonly strips: readonly [before: boolean, after: boolean];
}

/**
 * Reads the text of a `tokenizer.json` whose model is byte-pair encoding, byte-level (GPT-2, Llama 3, SmolLM) or
 * SentencePiece's with byte fallback (Llama 2). `encode` does what Hugging Face's `tokenizers` does, special tokens in the
 * text included. It adds the tokens that the file's template puts before a text, but not those that it puts after.
 *
 * The file is not trusted. Its patterns are matched in time linear in the text, with the results of JavaScript's own regular
 * expressions.
 *
 * @throws LoadError, one sentence, for another kind of model, for unknown stages, and for patterns with backreferences, with
 *   lookbehind of more than one character or with repetition of what may be empty. `encode` and `decode` throw it if the
 *   stages make a text more than 64 times as long and 1024 characters longer.
 * @throws ArgumentError if `json` is not a string
 */
export function readHuggingFaceTokenizer(json: string): Tokenizer {
  return new HuggingFaceTokenizer(parseFields(CALL, 'tokenizer.json', json));
}

class HuggingFaceTokenizer implements Tokenizer {
  /** A map, because a file may give a token any number. */
  readonly #pieces = new Map<number, string>();
  readonly #added = new Map<string, AddedToken>();
  readonly #special = new Set<number>();
  readonly #matchAdded: ReturnType<typeof compileWords>;
  readonly #prefix: readonly number[];
  readonly #normalise: ReturnType<typeof readNormaliser>;
  readonly #split: ReturnType<typeof readPreTokenizer>;
  readonly #encodeWord: (word: string) => number[];
  readonly #decodePiece: (piece: string) => Uint8Array | string;
  readonly #dropsSpace: boolean;

  constructor(fields: Fields) {
    const model = fields.child('model') ?? fields.fail('model', 'be there');
    model.refuseUnless('type', ['BPE']);
    const vocabulary = new Map<string, number>();
    const entries = model.entries('vocab');
    const added = readAdded(fields);
    if (entries.length + added.length > MAX_PIECES) model.fail('vocab', `hold at most ${MAX_PIECES} pieces`);
    for (const [piece, id] of entries) {
      const token = isToken(id) ? id : model.fail('vocab', 'map pieces to token numbers');
      vocabulary.set(piece, token);
      this.#pieces.set(token, piece);
    }
    for (const token of added) {
      this.#pieces.set(token.id, token.content);
      if (token.content !== '') this.#added.set(token.content, token);
      if (token.isSpecial) this.#special.add(token.id);
    }
    this.#matchAdded = compileWords(this.#added.keys());
    this.#prefix = readPrefix(fields.child('post_processor'));
    this.#normalise = readNormaliser(fields.child('normalizer'));
    this.#split = readPreTokenizer(fields.child('pre_tokenizer'));
    this.#encodeWord = readModel(model, vocabulary);
    const decoder = fields.child('decoder') ?? fields.fail('decoder', 'be there');
    [this.#decodePiece, this.#dropsSpace] = readDecoder(decoder);
  }

  get vocabSize(): number {
    return this.#pieces.size;
  }

  get beginToken(): number | undefined {
    return this.#prefix[0];
  }

  encode(text: string): number[] {
    checkText(text);
    const tokens = [...this.#prefix];
    let end = 0;
    /** End of the white space that a token has swallowed. */
    let swallowed = 0;
    const encodeUpTo = (to: number): void => {
      if (to <= end) return;
      const section = this.#normalise(text.slice(end, to));
      for (const word of this.#split(section, end === 0)) {
        for (const token of this.#encodeWord(word)) tokens.push(token);
      }
    };
    for (const [start, stop] of this.#matchAdded(text)) {
      const token = this.#added.get(text.slice(start, stop))!;
      const [before, after] = token.strips;
      encodeUpTo(before ? end + text.slice(end, start).trimEnd().length : start);
      tokens.push(token.id);
      // white space is gone through once, even if there are tokens of white space in it
      if (after && stop > swallowed) swallowed = text.length - text.slice(stop).trimStart().length;
      end = after ? swallowed : stop;
    }
    encodeUpTo(text.length);
    return tokens;
  }

  decode(tokens: Iterable<number>): string {
    return decodeAll(this.stream(), tokens);
  }

  stream(): TextStream {
    return new TextStream((token) => {
      if (this.#special.has(token)) return '';
      return this.#decodePiece(this.#pieces.get(token) ?? '');
    }, this.#dropsSpace);
  }
}

function readAdded(fields: Fields): AddedToken[] {
  let characters = 0;
  return fields.children('added_tokens').map((token) => {
    token.refuseUnless('single_word', [false]);
    const content = token.text('content');
    if (hasLoneSurrogate(content)) token.fail('content', 'be Unicode');
    characters += content.length;
    if (characters > MAX_ADDED_CHARACTERS) {
      fields.fail('added_tokens', `have at most ${MAX_ADDED_CHARACTERS} characters together`);
    }
    return {
      id: token.token('id'),
      content,
      isSpecial: token.flag('special'),
      strips: [token.flag('lstrip'), token.flag('rstrip')] as const,
    };
  });
}

/** Reads the tokens that the template for one text puts in front. */
function readPrefix(fields: Fields | undefined): number[] {
  const prefix: number[] = [];
  for (const stage of listStages(fields, 'processors')) {
    const type = stage.text('type');
    if (type === 'ByteLevel') continue;
    if (type !== 'TemplateProcessing') stage.fail('type', 'be ByteLevel, Sequence or TemplateProcessing');
    const special = stage.child('special_tokens');
    for (const part of stage.children('single')) {
      if (part.child('Sequence')) break;
      const name = part.child('SpecialToken')?.text('id') ?? part.fail('SpecialToken', 'be there');
      const ids = special?.child(name)?.tokens('ids') ?? stage.fail('special_tokens', `hold ${quote(name)}`);
      if (prefix.length + ids.length > MAX_PREFIX) stage.fail('single', `put at most ${MAX_PREFIX} tokens in front`);
      prefix.push(...ids);
    }
  }
  return prefix;
}

/** Returns a function that encodes one word by the vocabulary and merges of the model. */
function readModel(fields: Fields, vocabulary: ReadonlyMap<string, number>): (word: string) => number[] {
  // an empty affix counts as none
  fields.refuseUnless('continuing_subword_prefix', ['', null]);
  fields.refuseUnless('end_of_word_suffix', ['', null]);
  const merges = readMerges(fields, vocabulary);
  const ignoresMerges = fields.flag('ignore_merges');
  const fusesUnknown = fields.flag('fuse_unk');
  const unknownPiece = fields.value('unk_token');
  const unknown = unknownPiece === undefined ? undefined : vocabulary.get(fields.text('unk_token'));
  const byteTokens = fields.flag('byte_fallback') ? readByteTokens(vocabulary) : [];
  const encoder = new TextEncoder();
  const symbolsOf = (character: string): number[] => {
    const token = vocabulary.get(character);
    if (token !== undefined) return [token];
    const bytes = Array.from(encoder.encode(character), (byte) => byteTokens[byte]);
    if (bytes.every((byte) => byte !== undefined)) return bytes;
    return unknown === undefined ? [] : [unknown];
  };
  return (word) => {
    const whole = ignoresMerges ? vocabulary.get(word) : undefined;
    if (whole !== undefined) return [whole];
    const symbols = Array.from(word).flatMap(symbolsOf);
    const fused = fusesUnknown ? symbols.filter((id, i) => id !== unknown || symbols[i - 1] !== unknown) : symbols;
    return mergePairs(fused, (left, right) => merges.get(left)?.get(right));
  };
}

/** The merges, by their left and right tokens. */
function readMerges(fields: Fields, vocabulary: ReadonlyMap<string, number>): Map<number, Map<number, Merge>> {
  const merges = new Map<number, Map<number, Merge>>();
  const list = fields.list('merges');
  if (list.length > MAX_PIECES) fields.fail('merges', `hold at most ${MAX_PIECES} pairs`);
  for (const [rank, pair] of list.entries()) {
    const parts: unknown = typeof pair === 'string' ? pair.split(' ', 3) : pair;
    const isPair = Array.isArray(parts) && parts.length === 2 && parts.every((part) => typeof part === 'string');
    if (!isPair) return fields.fail('merges', `hold pairs of pieces (merge ${rank} is none)`);
    const [a, b] = parts as [string, string];
    const [left, right, symbol] = [vocabulary.get(a), vocabulary.get(b), vocabulary.get(a + b)];
    if (left === undefined || right === undefined || symbol === undefined) {
      return fields.fail('merges', `join pieces of the vocabulary (merge ${rank} does not)`);
    }
    const ofLeft = merges.get(left) ?? new Map<number, Merge>();
    merges.set(left, ofLeft.set(right, { rank, symbol }));
  }
  return merges;
}

/** The token of each byte. */
function readByteTokens(vocabulary: ReadonlyMap<string, number>): (number | undefined)[] {
  return Array.from({ length: 256 }, (_, byte) =>
    vocabulary.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
  );
}

/** Returns a function that decodes a piece, and whether the tokenizer itself added the text's first space. */
function readDecoder(fields: Fields): [(piece: string) => Uint8Array | string, boolean] {
  const type = fields.text('type');
  if (type === 'ByteLevel') return [fromByteCharacters, false];
  if (type === 'Metaspace') {
    const { space, scheme } = readSpace(fields);
    return [(piece) => piece.replaceAll(space, ' '), scheme !== 'never'];
  }
  if (type !== 'Sequence') return fields.fail('type', 'be ByteLevel, Metaspace or Sequence');
  const replacements: ReturnType<typeof readReplace>[] = [];
  let [hasBytes, dropsSpace] = [false, false];
  for (const stage of listStages(fields, 'decoders')) {
    switch (stage.text('type')) {
      case 'Fuse':
        break;
      case 'ByteFallback':
        hasBytes = true;
        break;
      case 'Replace':
        replacements.push(readReplace(stage));
        break;
      case 'Strip':
        stage.refuseUnless('content', [' ']);
        stage.refuseUnless('start', [0, 1]);
        stage.refuseUnless('stop', [0]);
        dropsSpace = stage.value('start') === 1;
        break;
      default:
        stage.fail('type', 'be Fuse, ByteFallback, Replace or Strip');
    }
  }
  return [
    (piece) => {
      const byte = hasBytes ? BYTE_PIECE.exec(piece)?.[1] : undefined;
      if (byte !== undefined) return Uint8Array.of(parseInt(byte, 16));
      const limit = limitOf(piece.length);
      return replacements.reduce((text, replace) => replace(text, limit), piece);
    },
    dropsSpace,
  ];
}
