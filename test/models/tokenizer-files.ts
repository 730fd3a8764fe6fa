/** Small tokenizers as their files. */
import { joinBytes } from './tiny-llama.ts';

/** What `tokenizers` 0.23 makes of the texts with the files below, and of the tokens again. */
export interface Encoding {
  text: string;
  tokens: number[];
  /** Where it is not the text. */
  decoded?: string;
}

const LLAMA3_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const added = (id: number, content: string, more: object = {}): object => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
  ...more,
});

/** GPT-2's characters of bytes, in the order of code points: byte tokens are 0 to 255. */
function byteCharacters(): string[] {
  const printable = (byte: number): boolean => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const others = bytes.filter((byte) => !printable(byte)).map((_, i) => String.fromCharCode(256 + i));
  return [...bytes.filter(printable).map((byte) => String.fromCharCode(byte)), ...others];
}

const BYTE_MERGES = [
  ['Ġ', 't'],
  ['h', 'e'],
  ['Ġt', 'he'],
  ['l', 'l'],
  ['he', 'll'],
  ['hell', 'o'],
  ["'", 's'],
  ['Ã', '©'],
  ['1', '2'],
  ['12', '3'],
  ['Ġ', 'Ġ'],
  ['Ċ', 'Ċ'],
  ['Ġ', 'hell'],
];

/** Llama 3's kind: byte-level, with a begin token, whole words before merges. `parts` replaces top-level fields. */
export function byteLevelTokenizer(parts: object = {}, model: object = {}): string {
  const pieces = [...byteCharacters(), ...BYTE_MERGES.map((pair) => pair.join('')), 'Ġzebra'];
  return JSON.stringify({
    version: '1.0',
    added_tokens: [
      added(270, '<|begin|>'),
      added(271, '<|end|>'),
      added(272, '<|user|>', { lstrip: true, rstrip: true }),
    ],
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: LLAMA3_WORDS }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: 'Sequence',
      processors: [
        { type: 'ByteLevel', add_prefix_space: true, trim_offsets: false, use_regex: true },
        {
          type: 'TemplateProcessing',
          single: [{ SpecialToken: { id: '<|begin|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
          pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
          special_tokens: { '<|begin|>': { id: '<|begin|>', ids: [270], tokens: ['<|begin|>'] } },
        },
      ],
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: true,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: BYTE_MERGES,
      ...model,
    },
    ...parts,
  });
}

/** SmolLM's kind: every digit a word, GPT-2's words, no begin token. */
export function digitsTokenizer(): string {
  return byteLevelTokenizer(
    {
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Digits', individual_digits: true },
          { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
        ],
      },
      post_processor: null,
    },
    { ignore_merges: false, merges: BYTE_MERGES.map((pair) => pair.join(' ')) },
  );
}

const PIECE_MERGES = [
  ['▁', 't'],
  ['h', 'e'],
  ['▁t', 'he'],
  ['l', 'l'],
  ['▁', 'he'],
  ['▁he', 'll'],
  ['▁hell', 'o'],
  ['▁', '▁'],
];

/** Llama 2's kind: SentencePiece's pieces with bytes for what is none. Byte b is token 3 + b. */
export function sentencePieceTokenizer(parts: object = {}, model: object = {}): string {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const pieces = [
    '<unk>',
    '<s>',
    '</s>',
    ...bytes,
    ...Array.from('▁abcdehlort.,é'),
    ...PIECE_MERGES.map((pair) => pair.join('')),
  ];
  return JSON.stringify({
    version: '1.0',
    added_tokens: [added(0, '<unk>'), added(1, '<s>'), added(2, '</s>')],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: PIECE_MERGES.map((pair) => pair.join(' ')),
      ...model,
    },
    ...parts,
  });
}

/** The same pieces, with SentencePiece's spaces made by a pre-tokenizer, only in front of the first word. */
export function metaspaceTokenizer(): string {
  return sentencePieceTokenizer(
    {
      normalizer: { type: 'NFC' },
      pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: true },
      decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: true },
    },
    { byte_fallback: false },
  );
}

/** llama2.c's tokenizer.bin with the pieces that `pieces` lists after the 259 that every one has; later pieces merge later. */
export function llama2cTokenizerFile(pieces: readonly string[]): Uint8Array {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const all = ['<unk>', '\n<s>\n', '\n</s>\n', ...bytes, ...pieces].map((piece) => new TextEncoder().encode(piece));
  const longest = Int32Array.of(Math.max(...all.map(({ length }) => length)));
  const entries = all.map((piece, id) => {
    const head = new DataView(new ArrayBuffer(8));
    head.setFloat32(0, id < 259 ? 0 : 259 - id, true);
    head.setInt32(4, piece.length, true);
    return joinBytes([new Uint8Array(head.buffer), piece]);
  });
  return joinBytes([new Uint8Array(longest.buffer), ...entries]);
}
