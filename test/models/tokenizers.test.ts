import { describe, expect, test } from 'vitest';
import { ArgumentError, LoadError } from '../../src/index.ts';
import { readHuggingFaceTokenizer, readLlama2cTokenizer, type Tokenizer } from '../../src/models.ts';
import { mergePairs } from '../../src/models/pair-merging.ts';
import { Random } from '../random.ts';
import { describeStories } from './shared-models.ts';
import {
  byteLevelTokenizer,
  digitsTokenizer,
  llama2cTokenizerFile,
  metaspaceTokenizer,
  sentencePieceTokenizer,
  type Encoding,
} from './tokenizer-files.ts';

const HARD_TEXTS = [
  'Hello world',
  ' two  spaces   and more ',
  'Ünïcödé, 日本語, 😀 and 👩‍👩‍👧!',
  'tabs\tand\nlines\r\n\r\n',
  '\ufeffmark\u0000nul\u2028',
  '<0x41> <s> </s> <unk>',
  'x'.repeat(300),
];

/** Token by token: what comes out at each. */
function pushAll(tokenizer: Tokenizer, tokens: readonly number[]): string[] {
  const stream = tokenizer.stream();
  return [...tokens.map((token) => stream.push(token)), stream.end()];
}

describe('merging', () => {
  test('takes the least rank first, then the leftmost, as the plain loop does', () => {
    const random = new Random(1);
    for (let round = 0; round < 200; round++) {
      // few ranks, so that many are equal
      const ranks = new Map<string, { rank: number; symbol: number }>();
      for (let i = 0; i < 30; i++) {
        ranks.set(`${random.integer(0, 9)},${random.integer(0, 9)}`, {
          rank: random.integer(0, 5),
          symbol: random.integer(0, 9),
        });
      }
      const mergeOf = (a: number, b: number) => ranks.get(`${a},${b}`);
      const symbols = Array.from({ length: random.integer(0, 40) }, () => random.integer(0, 9));
      const wanted = [...symbols];
      for (;;) {
        let best: { rank: number; symbol: number } | undefined;
        let at = -1;
        for (let i = 0; i + 1 < wanted.length; i++) {
          const merge = mergeOf(wanted[i], wanted[i + 1]);
          if (merge && (!best || merge.rank < best.rank)) [best, at] = [merge, i];
        }
        if (!best) break;
        wanted.splice(at, 2, best.symbol);
      }
      expect(mergePairs(symbols, mergeOf)).toEqual(wanted);
    }
  });

  test('goes through a long word without trying every pair at each merge', () => {
    let tries = 0;
    const merged = mergePairs(
      Array.from({ length: 2e4 }, (_, i) => i % 2),
      (a, b) => {
        tries++;
        return a === 0 && b === 1 ? { rank: 0, symbol: 2 } : undefined;
      },
    );
    expect(merged).toEqual(Array<number>(1e4).fill(2));
    expect(tries).toBeLessThan(5e4);
  });
});

describe("llama2.c's tokenizer", () => {
  const file = llama2cTokenizerFile([' ', 'a', 'b', 'c', '日', 'ab', ' a', 'bc', ' ab', 'abc', '<', '<0', '<0x41>']);
  const tokenizer = readLlama2cTokenizer(file);
  const token = (piece: number): number => 259 + piece;

  test.each<Encoding>([
    { text: '', tokens: [1] },
    { text: 'b', tokens: [1, token(0), token(2)] },
    // 'ab' has the best score, and then ' ab', not 'abc'
    { text: 'abc', tokens: [1, token(8), token(3)] },
    { text: ' abc', tokens: [1, token(0), token(8), token(3)] },
    { text: 'bcd', tokens: [1, token(0), token(7), 3 + 100] },
    { text: '日é', tokens: [1, token(0), token(4), 3 + 0xc3, 3 + 0xa9] },
  ])('$text', ({ text, tokens }) => {
    expect(tokenizer.encode(text)).toEqual(tokens);
    expect(tokenizer.decode(tokens)).toBe(text);
  });

  test.each(HARD_TEXTS)('%j comes back', (text) => {
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  test('gives a character with the last of its bytes', () => {
    const bytes = [...new TextEncoder().encode('é😀')].map((byte) => 3 + byte);
    expect(pushAll(tokenizer, [1, token(6), ...bytes])).toEqual(['', 'a', '', 'é', '', '', '', '😀', '']);
    expect(pushAll(tokenizer, [3 + 0xf0, 3 + 0x9f])).toEqual(['', '', '\ufffd']);
    expect(pushAll(tokenizer, [3 + 0xf0, token(1)])).toEqual(['', '\ufffda', '']);
  });

  test('tells its size, and refuses that of another model', () => {
    expect([tokenizer.vocabSize, tokenizer.beginToken]).toEqual([272, 1]);
    expect(readLlama2cTokenizer(file, 272).vocabSize).toBe(272);
    expect(() => readLlama2cTokenizer(file, 512)).toThrow(
      new LoadError("readLlama2cTokenizer: file must hold the model's 512 tokens, got 272"),
    );
  });

  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(0), /file of 0 bytes must begin with its longest piece's length/],
    ['a longest piece of no length', new Uint8Array(100), /longest piece's length, got 0/],
    ['text', new TextEncoder().encode('{"model": {}}'), /longest piece's length, got 1869423227/],
    [
      'a piece cut off',
      file.subarray(0, -1),
      /must at byte \d+ hold token 271 whole, which ends at byte \d+, so it is cut/,
    ],
    ['a score cut off', file.subarray(0, -10), /hold token 271 whole, got 4 bytes, so it is cut off/],
    ['a length that lies', file.map((byte, i) => (i === 8 ? 200 : byte)), /at most 6 bytes, got 200/],
    ['hardly any tokens', file.subarray(0, 4 + 13 + 13), /hold more than 3 tokens, got 2/],
  ])('%s is one sentence', (_name, bytes, message) => {
    expect(() => readLlama2cTokenizer(bytes)).toThrow(LoadError);
    expect(() => readLlama2cTokenizer(bytes)).toThrow(message);
    expect(() => readLlama2cTokenizer(bytes)).toThrow(/^readLlama2cTokenizer: [^\n]{1,200}$/);
  });
});

describe("Hugging Face's tokenizer.json, as tokenizers has it", () => {
  describe.each<[string, string, Encoding[]]>([
    [
      'byte-level, as Llama 3',
      byteLevelTokenizer(),
      [
        { text: '', tokens: [270] },
        { text: 'hello the zebra', tokens: [270, 261, 258, 269] },
        { text: '  hello   the\n\n x', tokens: [270, 220, 220, 261, 266, 258, 267, 220, 87] },
        { text: "it's IT'S 12345", tokens: [270, 72, 83, 262, 220, 40, 51, 6, 50, 220, 265, 19, 20] },
        { text: 'café 日', tokens: [270, 66, 64, 69, 263, 220, 162, 245, 98] },
        { text: 'a <|user|>\n b<|end|>', tokens: [270, 64, 272, 65, 271], decoded: 'ab' },
        { text: 'a zebra zebra', tokens: [270, 64, 269, 269] },
      ],
    ],
    [
      'byte-level with single digits, as SmolLM',
      digitsTokenizer(),
      [
        { text: '', tokens: [] },
        { text: ' the 12345', tokens: [258, 220, 16, 17, 18, 19, 20] },
        { text: "he's café", tokens: [257, 262, 220, 66, 64, 69, 263] },
        { text: 'x<|user|> y', tokens: [87, 272, 88], decoded: 'xy' },
      ],
    ],
    [
      "SentencePiece's, as Llama 2",
      sentencePieceTokenizer(),
      [
        { text: '', tokens: [1] },
        { text: 'hello the cat', tokens: [1, 279, 275, 259, 262, 260, 269] },
        { text: ' hello  o', tokens: [1, 259, 279, 280, 267] },
        { text: 'é日.', tokens: [1, 259, 272, 233, 154, 168, 270] },
        { text: 'a</s>b <s> c', tokens: [1, 259, 260, 2, 259, 261, 259, 1, 280, 262], decoded: 'a b   c' },
        { text: 'a\nb', tokens: [1, 259, 260, 13, 261] },
      ],
    ],
    [
      "SentencePiece's by a pre-tokenizer, without bytes",
      metaspaceTokenizer(),
      [
        { text: 'hello the cat', tokens: [1, 279, 275, 259, 262, 260, 269] },
        { text: ' hello  o', tokens: [1, 279, 259, 259, 267], decoded: 'hello  o' },
        { text: 'e\u0301', tokens: [1, 259, 272], decoded: 'é' },
        { text: 'a</s>b c', tokens: [1, 259, 260, 2, 261, 259, 262], decoded: 'ab c' },
        { text: 'aXYb Z', tokens: [1, 259, 260, 0, 261, 259, 0], decoded: 'ab ' },
      ],
    ],
  ])('%s', (_name, json, encodings) => {
    const tokenizer = readHuggingFaceTokenizer(json);

    test.each(encodings)('$text', ({ text, tokens, decoded = text }) => {
      expect(tokenizer.encode(text)).toEqual(tokens);
      expect(tokenizer.decode(tokens)).toBe(decoded);
      expect(pushAll(tokenizer, tokens).join('')).toBe(decoded);
    });
  });

  test.each(HARD_TEXTS)('%j comes back', (text) => {
    for (const json of [byteLevelTokenizer(), digitsTokenizer()]) {
      const tokenizer = readHuggingFaceTokenizer(json);
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
  });

  test('gives a character with the last of its bytes', () => {
    const tokenizer = readHuggingFaceTokenizer(byteLevelTokenizer());
    expect(pushAll(tokenizer, [270, 162, 245, 98, 269, 162])).toEqual(['', '', '', '日', ' zebra', '', '\ufffd']);
  });

  test('tells its size and begin token', () => {
    const [withBegin, without] = [byteLevelTokenizer(), digitsTokenizer()].map(readHuggingFaceTokenizer);
    expect([withBegin.vocabSize, withBegin.beginToken]).toEqual([273, 270]);
    expect(without.beginToken).toBeUndefined();
  });

  test.each<[string, string, string]>([
    ['no JSON', '{', 'tokenizer.json must be JSON, got other text'],
    ['no model', '{}', 'model in tokenizer.json must be there, got nothing'],
    [
      'unigram pieces',
      byteLevelTokenizer({}, { type: 'Unigram' }),
      'type in tokenizer.json\'s model must be "BPE", got "Unigram"',
    ],
    ['word pieces', byteLevelTokenizer({}, { continuing_subword_prefix: '##' }), 'continuing_subword_prefix'],
    ['a vocabulary of words', byteLevelTokenizer({}, { vocab: { a: 'b' } }), 'must map pieces to token numbers'],
    [
      'a merge of nothing',
      byteLevelTokenizer({}, { merges: ['a zz'] }),
      'join pieces of the vocabulary (merge 0 does not)',
    ],
    [
      'another pre-tokenizer',
      byteLevelTokenizer({ pre_tokenizer: { type: 'BertPreTokenizer' } }),
      "type in tokenizer.json's pre_tokenizer must be Sequence, Split, Digits, ByteLevel or Metaspace, " +
        'got "BertPreTokenizer"',
    ],
    [
      'another normaliser',
      byteLevelTokenizer({ normalizer: { type: 'Precompiled' } }),
      "type in tokenizer.json's normalizer must be Sequence, NFC,",
    ],
    [
      'another template',
      byteLevelTokenizer({ post_processor: { type: 'RobertaProcessing' } }),
      "type in tokenizer.json's post_processor must be ByteLevel, Sequence or TemplateProcessing",
    ],
    ['no decoder', byteLevelTokenizer({ decoder: null }), 'decoder in tokenizer.json must be there, got nothing'],
    [
      'another decoder',
      byteLevelTokenizer({ decoder: { type: 'WordPiece' } }),
      "type in tokenizer.json's decoder must be",
    ],
    [
      'a pattern that JavaScript has not',
      byteLevelTokenizer({ pre_tokenizer: { type: 'Split', pattern: { Regex: '(?>a)++' }, behavior: 'Isolated' } }),
      'the pattern in tokenizer.json\'s pre_tokenizer must be a regular expression that JavaScript can read, got "(?>a)++"',
    ],
    [
      'another way to split',
      byteLevelTokenizer({ pre_tokenizer: { type: 'Split', pattern: { String: 'a' }, behavior: 'Contiguous' } }),
      'must be Isolated, Removed, MergedWithNext or MergedWithPrevious, got "Contiguous"',
    ],
  ])('%s: one sentence', (_name, json, message) => {
    expect(() => readHuggingFaceTokenizer(json)).toThrow(LoadError);
    expect(() => readHuggingFaceTokenizer(json)).toThrow(message);
    expect(() => readHuggingFaceTokenizer(json)).toThrow(/^readHuggingFaceTokenizer: [^\n]{1,200}$/);
  });
});

describe.each<[string, () => Tokenizer]>([
  ["llama2.c's", () => readLlama2cTokenizer(llama2cTokenizerFile([' ', 'a', 'b', 'ab']))],
  ['a byte-level', () => readHuggingFaceTokenizer(byteLevelTokenizer())],
  ['a byte-level with single digits', () => readHuggingFaceTokenizer(digitsTokenizer())],
  ["SentencePiece's", () => readHuggingFaceTokenizer(sentencePieceTokenizer())],
  ["SentencePiece's by a pre-tokenizer", () => readHuggingFaceTokenizer(metaspaceTokenizer())],
])('%s tokenizer', (_name, read) => {
  const tokenizer = read();

  // a call takes about 120,000 arguments
  test.each<[string, string]>([
    ['one word', 'ab'.repeat(2e5)],
    ['words', 'a b '.repeat(1e5)],
    ['space', 'a' + ' '.repeat(4e5)],
  ])('takes a long text of %s', (_kind, text) => {
    const tokens = tokenizer.encode(text);
    expect(tokens.length).toBeGreaterThan(1.9e5);
    expect(tokenizer.decode(tokens) === text).toBe(true);
  });

  test('refuses what is no text and no list of tokens', () => {
    for (const text of [undefined, null, 5, new ArrayBuffer(8), ['a']]) {
      expect(() => tokenizer.encode(text as unknown as string)).toThrow(ArgumentError);
    }
    for (const tokens of [undefined, null, 5, 'abc', new ArrayBuffer(8), { length: 1 }]) {
      expect(() => tokenizer.decode(tokens as number[])).toThrow(ArgumentError);
    }
    expect(() => tokenizer.encode(undefined as unknown as string)).toThrow(
      'encode: text must be a string, got undefined',
    );
    expect(() => tokenizer.decode({} as number[])).toThrow('decode: tokens must be a list of numbers, got Object');
  });

  test('decodes a typed array, and leaves out numbers that are no tokens', () => {
    const tokens = tokenizer.encode('ab a');
    expect(tokenizer.decode(Uint32Array.from(tokens))).toBe('ab a');
    expect(tokenizer.decode([...tokens, -1, 0.5, NaN, 2 ** 32, Infinity])).toBe('ab a');
  });
});

describe('a hostile tokenizer.json', () => {
  const split = (pattern: object): string =>
    byteLevelTokenizer({ pre_tokenizer: { type: 'Split', pattern, behavior: 'Isolated' } });
  const replace = (count: number, content: string): object => ({
    type: 'Sequence',
    normalizers: Array.from({ length: count }, () => ({ type: 'Replace', pattern: { String: 'a' }, content })),
  });

  test('splits by a pattern that would take 2^1,000,000 steps', () => {
    const tokenizer = readHuggingFaceTokenizer(split({ Regex: '(a+)+$' }));
    expect(tokenizer.encode(`${'a'.repeat(1e6)}b`).length).toBe(1e6 + 2);
  });

  test('has 200,000 added tokens', () => {
    const tokens = Array.from({ length: 200_000 }, (_, i) => ({ id: 1000 + i, content: `<extra ${i}>` }));
    const tokenizer = readHuggingFaceTokenizer(byteLevelTokenizer({ added_tokens: tokens }));
    expect(tokenizer.encode('<extra 7>a<extra 199999>')).toEqual([270, 1007, 64, 200_999]);
  });

  test('strips white space before and after tokens that are white space', () => {
    const added = [{ id: 300, content: ' ', lstrip: true, rstrip: true }];
    const tokenizer = readHuggingFaceTokenizer(byteLevelTokenizer({ added_tokens: added }));
    expect(tokenizer.encode(`a${' '.repeat(1e6)}b`).filter((token) => token !== 300)).toEqual([270, 64, 65]);
  });

  test('doubles the text at each stage', () => {
    const doubled = readHuggingFaceTokenizer(byteLevelTokenizer({ normalizer: replace(3, 'aa') }));
    expect(doubled.encode('a')).toHaveLength(9);
    const hostile = readHuggingFaceTokenizer(byteLevelTokenizer({ normalizer: replace(100, 'aa') }));
    expect(() => hostile.encode('a')).toThrow(
      new LoadError(
        'tokenizer: the stages in tokenizer.json must make at most 1088 characters of this text, got at least 2048',
      ),
    );
    const bytes = Array.from({ length: 100 }, () => ({ type: 'ByteLevel', use_regex: false }));
    const nested = byteLevelTokenizer({ pre_tokenizer: { type: 'Sequence', pretokenizers: bytes } });
    expect(() => readHuggingFaceTokenizer(nested).encode('é')).toThrow(/must make at most 1088 characters/);
    const decoders = Array.from({ length: 100 }, () => ({ type: 'Replace', pattern: { String: 'a' }, content: 'aa' }));
    const decoder = byteLevelTokenizer({ decoder: { type: 'Sequence', decoders } });
    expect(() => readHuggingFaceTokenizer(decoder).decode([64])).toThrow(/must make at most 1088 characters/);
  });

  test('gives tokens the largest numbers', () => {
    const added = [{ id: 2 ** 32 - 1, content: '<last>', special: false }];
    const tokenizer = readHuggingFaceTokenizer(byteLevelTokenizer({ added_tokens: added }));
    expect(tokenizer.encode('<last>')).toEqual([270, 2 ** 32 - 1]);
    expect(tokenizer.vocabSize).toBe(271);
  });

  test.each<[string, string, string]>([
    [
      'a backreference',
      split({ Regex: '(a)\\1' }),
      "the pattern in tokenizer.json's pre_tokenizer must have no backref",
    ],
    ['repetition of nothing', split({ Regex: '(a*)*' }), 'must repeat nothing that may be empty, got "(a*)*"'],
    ['an empty pattern', split({ String: '' }), 'must not be empty, got ""'],
    ['a long pattern', split({ Regex: 'a'.repeat(1e6) }), 'must have at most 4096 characters, got 1000000, got "aaa'],
    ['many stages', byteLevelTokenizer({ normalizer: replace(1000, 'b') }), 'must hold at most 128 stages'],
    ['a long replacement', metaspaceTokenizer().replaceAll('"▁","prepend', '"▁▁","prepend'), 'must be one character'],
    ['a merge of numbers', byteLevelTokenizer({}, { merges: [[1, 2]] }), 'must hold pairs of pieces (merge 0 is none)'],
    ['a merge of three', byteLevelTokenizer({}, { merges: ['a b c'] }), 'must hold pairs of pieces (merge 0 is none)'],
    ['a deep merge', byteLevelTokenizer({}, { merges: [[['a'], 'b']] }), 'must hold pairs of pieces'],
    ['a fractional number', byteLevelTokenizer({}, { vocab: { a: 0.5 } }), 'must map pieces to token numbers'],
    ['a number of 33 bits', byteLevelTokenizer({}, { vocab: { a: 2 ** 32 } }), 'must map pieces to token numbers'],
    ['a negative number', byteLevelTokenizer({ added_tokens: [{ id: -1, content: 'a' }] }), 'be the number of a token'],
    ['half a character', byteLevelTokenizer({ added_tokens: [{ id: 1, content: '\ud83d' }] }), 'content in'],
    [
      'a long prefix',
      byteLevelTokenizer({
        post_processor: {
          type: 'TemplateProcessing',
          single: Array.from({ length: 1e4 }, () => ({ SpecialToken: { id: 'a' } })),
          special_tokens: { a: { ids: Array.from({ length: 1000 }, () => 1) } },
        },
      }),
      'must put at most 1024 tokens in front',
    ],
    [
      'stages 200,000 deep',
      byteLevelTokenizer({ normalizer: '?' }).replace(
        '"?"',
        `${'{"type":"Sequence","normalizers":['.repeat(1e5)}${']}'.repeat(1e5)}`,
      ),
      'tokenizer.json must nest at most 64 levels, got more',
    ],
    [
      'a list 200,000 deep',
      `${'['.repeat(2e5)}${']'.repeat(2e5)}`,
      'tokenizer.json must nest at most 64 levels, got more',
    ],
  ])('with %s is refused in one sentence', (_name, json, message) => {
    expect(() => readHuggingFaceTokenizer(json)).toThrow(LoadError);
    expect(() => readHuggingFaceTokenizer(json)).toThrow(message);
    expect(() => readHuggingFaceTokenizer(json)).toThrow(/^readHuggingFaceTokenizer: [^\n]{1,280}$/);
  });
});

describeStories('the tokenizer', ({ tokenizer: file }) => {
  const tokenizer = readLlama2cTokenizer(file, 512);

  /** What the loop of llama2.c's run.c makes of the texts. */
  test.each<Encoding>([
    {
      text: 'Once upon a time, there was a girl named Lily.',
      tokens: [1, 403, 407, 261, 378, 432, 383, 286, 261, 298, 315, 421, 395, 317, 426],
    },
    {
      text: 'One day, Tim\'s mom said: "Let\'s go!"',
      tokens: [1, 385, 328, 432, 326, 439, 419, 357, 336, 467, 313, 438, 316, 439, 419, 298, 414, 443, 436],
    },
    { text: ' the  café\n日', tokens: [1, 410, 265, 410, 280, 412, 431, 485, 13, 233, 154, 168] },
  ])('$text', ({ text, tokens }) => {
    expect(tokenizer.encode(text)).toEqual(tokens);
    expect(tokenizer.decode(tokens)).toBe(text);
  });

  test.each(HARD_TEXTS)('%j comes back', (text) => {
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });
});
