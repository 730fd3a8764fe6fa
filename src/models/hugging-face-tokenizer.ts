import { parseFields, type Fields } from './fields.ts';
import { mergePairs, type Merge } from './pair-merging.ts';
import { escape, fromByteCharacters, readNormaliser, readPreTokenizer, readReplace } from './text-stages.ts';
import { decodeAll, TextStream, type Tokenizer } from './tokenizer.ts';

const CALL = 'readHuggingFaceTokenizer';
const BYTE_PIECE = /^<0x([0-9A-F]{2})>$/;

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
 * @throws LoadError, one sentence, for another kind of model and for unknown stages
 */
export function readHuggingFaceTokenizer(json: string): Tokenizer {
  return new HuggingFaceTokenizer(parseFields(CALL, 'tokenizer.json', json));
}

class HuggingFaceTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly #pieces: string[] = [];
  readonly #added = new Map<string, AddedToken>();
  readonly #special = new Set<number>();
  readonly #pattern: RegExp | undefined;
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
    for (const [piece, id] of model.entries('vocab')) {
      if (!Number.isSafeInteger(id) || (id as number) < 0) model.fail('vocab', 'map pieces to token numbers');
      vocabulary.set(piece, id as number);
      this.#pieces[id as number] = piece;
    }
    for (const token of readAdded(fields)) {
      this.#pieces[token.id] = token.content;
      this.#added.set(token.content, token);
      if (token.isSpecial) this.#special.add(token.id);
    }
    this.vocabSize = this.#pieces.length;
    if (this.#added.size > 0) {
      const longestFirst = [...this.#added.keys()].sort((a, b) => b.length - a.length);
      this.#pattern = new RegExp(longestFirst.map(escape).join('|'), 'gu');
    }
    this.#prefix = readPrefix(fields.child('post_processor'));
    this.#normalise = readNormaliser(fields.child('normalizer'));
    this.#split = readPreTokenizer(fields.child('pre_tokenizer'));
    this.#encodeWord = readModel(model, vocabulary);
    const decoder = fields.child('decoder') ?? fields.fail('decoder', 'be there');
    [this.#decodePiece, this.#dropsSpace] = readDecoder(decoder);
  }

  get beginToken(): number | undefined {
    return this.#prefix[0];
  }

  encode(text: string): number[] {
    const tokens = [...this.#prefix];
    let end = 0;
    const encodeUpTo = (to: number): void => {
      if (to <= end) return;
      const isFirst = end === 0;
      const section = this.#normalise(text.slice(end, to), isFirst);
      for (const word of this.#split([section], isFirst)) tokens.push(...this.#encodeWord(word));
    };
    for (const match of this.#pattern ? text.matchAll(this.#pattern) : []) {
      const token = this.#added.get(match[0])!;
      const [before, after] = token.strips;
      const start = before ? text.slice(0, match.index).trimEnd().length : match.index;
      encodeUpTo(start);
      tokens.push(token.id);
      end = match.index + match[0].length;
      if (after) end += text.length - end - text.slice(end).trimStart().length;
    }
    encodeUpTo(text.length);
    return tokens;
  }

  decode(tokens: readonly number[]): string {
    return decodeAll(this.stream(), tokens);
  }

  stream(): TextStream {
    return new TextStream((token) => {
      if (this.#special.has(token)) return '';
      return this.#decodePiece(this.#pieces[token] ?? '');
    }, this.#dropsSpace);
  }
}

function readAdded(fields: Fields): AddedToken[] {
  return fields.children('added_tokens').map((token) => {
    token.refuseUnless('single_word', [false]);
    return {
      id: token.number('id'),
      content: token.text('content'),
      isSpecial: token.flag('special'),
      strips: [token.flag('lstrip'), token.flag('rstrip')] as const,
    };
  });
}

/** Reads the tokens that the template for one text puts in front. */
function readPrefix(fields: Fields | undefined): number[] {
  if (!fields) return [];
  switch (fields.text('type')) {
    case 'ByteLevel':
      return [];
    case 'Sequence':
      return fields.children('processors').flatMap(readPrefix);
    case 'TemplateProcessing': {
      const special = fields.child('special_tokens');
      const prefix: number[] = [];
      for (const part of fields.children('single')) {
        if (part.child('Sequence')) break;
        const name = part.child('SpecialToken')?.text('id') ?? part.fail('SpecialToken', 'be there');
        prefix.push(...(special?.child(name)?.numbers('ids') ?? fields.fail('special_tokens', `hold ${name}`)));
      }
      return prefix;
    }
    default:
      return fields.fail('type', 'be ByteLevel, Sequence or TemplateProcessing');
  }
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
  for (const [rank, pair] of fields.list('merges').entries()) {
    const [a, b]: unknown[] = typeof pair === 'string' ? pair.split(' ') : Array.isArray(pair) ? pair : [];
    const [left, right] = [vocabulary.get(String(a)), vocabulary.get(String(b))];
    const symbol = vocabulary.get(`${String(a)}${String(b)}`);
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
    const space = fields.text('replacement', '▁');
    const isOwn = fields.text('prepend_scheme', fields.flag('add_prefix_space', true) ? 'always' : 'never') !== 'never';
    return [(piece) => piece.replaceAll(space, ' '), isOwn];
  }
  if (type !== 'Sequence') return fields.fail('type', 'be ByteLevel, Metaspace or Sequence');
  let decode = (piece: string): string => piece;
  let [hasBytes, dropsSpace] = [false, false];
  for (const stage of fields.children('decoders')) {
    switch (stage.text('type')) {
      case 'Fuse':
        break;
      case 'ByteFallback':
        hasBytes = true;
        break;
      case 'Replace': {
        const [before, replace] = [decode, readReplace(stage)];
        decode = (piece) => replace(before(piece));
        break;
      }
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
      return byte === undefined ? decode(piece) : Uint8Array.of(parseInt(byte, 16));
    },
    dropsSpace,
  ];
}
