import { LoadError } from '../gpu/errors.ts';
import { bytesOf, type FileBytes } from '../io/bytes.ts';
import { mergePairs } from './pair-merging.ts';
import { checkText, decodeAll, TextStream, type Tokenizer } from './tokenizer.ts';

const CALL = 'readLlama2cTokenizer';
/** The first three tokens mean unknown, begin and end. Text never becomes one of these. */
const CONTROLS = 3;
const BEGIN = 1;
const BYTE_PIECE = /^<0x([0-9A-F]{2})>$/;

/**
 * Reads llama2.c's `tokenizer.bin`: the longest piece's length as an int32, then for each token a float32 score, an int32
 * length and the piece's bytes. It is SentencePiece's byte-pair encoding: a text gets a space in front, and a character
 * that is not a piece becomes its bytes. Neighbours whose joint text is a piece are joined, the best score first.
 *
 * @param bytes the whole file
 * @param vocabSize number of the model's tokens; if given, the file is checked against it
 * @throws LoadError, one sentence, for a file of another format, one that is cut off, and one of another model
 * @throws ArgumentError if `bytes` is neither a Uint8Array nor an ArrayBuffer
 */
export function readLlama2cTokenizer(bytes: FileBytes, vocabSize?: number): Tokenizer {
  const { pieces, scores } = readPieces(bytesOf(CALL, 'bytes', bytes));
  if (vocabSize !== undefined && pieces.length !== vocabSize) {
    throw new LoadError(`${CALL}: file must hold the model's ${vocabSize} tokens, got ${pieces.length}`);
  }
  return new Llama2cTokenizer(pieces, scores);
}

class Llama2cTokenizer implements Tokenizer {
  readonly beginToken = BEGIN;
  readonly #texts: readonly string[];
  readonly #scores: readonly number[];
  readonly #tokenOf = new Map<string, number>();
  /** The token of each byte that has one. */
  readonly #byteTokens: (number | undefined)[] = [];
  /** The byte of each token that stands for one. */
  readonly #bytes = new Map<number, Uint8Array>();

  constructor(pieces: readonly string[], scores: readonly number[]) {
    this.#texts = pieces;
    this.#scores = scores;
    for (const [token, piece] of pieces.entries()) {
      const byte = BYTE_PIECE.exec(piece)?.[1];
      if (byte !== undefined) {
        this.#byteTokens[parseInt(byte, 16)] = token;
        this.#bytes.set(token, Uint8Array.of(parseInt(byte, 16)));
      } else if (token >= CONTROLS && !this.#tokenOf.has(piece)) this.#tokenOf.set(piece, token);
    }
  }

  get vocabSize(): number {
    return this.#texts.length;
  }

  encode(text: string): number[] {
    checkText(text);
    if (text === '') return [BEGIN];
    const symbols = Array.from(` ${text}`).flatMap((c) => this.#tokenOf.get(c) ?? this.#bytesOf(c));
    const merged = mergePairs(symbols, (left, right) => {
      const symbol =
        this.#isText(left) && this.#isText(right) && this.#tokenOf.get(this.#texts[left] + this.#texts[right]);
      return typeof symbol === 'number' ? { rank: -this.#scores[symbol], symbol } : undefined;
    });
    return [BEGIN, ...merged];
  }

  decode(tokens: Iterable<number>): string {
    return decodeAll(this.stream(), tokens);
  }

  stream(): TextStream {
    return new TextStream((token) => {
      if (token > 0 && token < CONTROLS) return '';
      return this.#bytes.get(token) ?? this.#texts[token] ?? '';
    }, true);
  }

  #isText(token: number): boolean {
    return token >= CONTROLS && !this.#bytes.has(token);
  }

  /** The tokens of a character's bytes. A byte that the file lacks is the unknown token, 0. */
  #bytesOf(character: string): number[] {
    return Array.from(new TextEncoder().encode(character), (byte) => this.#byteTokens[byte] ?? 0);
  }
}

function readPieces(file: Uint8Array): { pieces: string[]; scores: number[] } {
  const fail = (problem: string): never => {
    throw new LoadError(`${CALL}: file of ${file.length} bytes must ${problem}`);
  };
  if (file.length < 4) fail("begin with its longest piece's length");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const longest = view.getInt32(0, true);
  // the longest pieces of real tokenizers have a few hundred bytes
  if (longest < 1 || longest > 65536) fail(`begin with its longest piece's length, got ${longest}`);
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const pieces: string[] = [];
  const scores: number[] = [];
  for (let at = 4; at < file.length;) {
    const place = `at byte ${at} hold token ${pieces.length}`;
    if (at + 8 > file.length) fail(`${place} whole, got ${file.length - at} bytes, so it is cut off`);
    const length = view.getInt32(at + 4, true);
    if (length < 0 || length > longest) fail(`${place} with a length of at most ${longest} bytes, got ${length}`);
    const end = at + 8 + length;
    if (end > file.length) fail(`${place} whole, which ends at byte ${end}, so it is cut off`);
    const score = view.getFloat32(at, true);
    if (Number.isNaN(score)) fail(`${place} with a score, got NaN`);
    scores.push(score);
    // a copy, because TextDecoder refuses shared memory
    pieces.push(decoder.decode(file.slice(at + 8, end)));
    at = end;
  }
  if (pieces.length <= CONTROLS) fail(`hold more than ${CONTROLS} tokens, got ${pieces.length}`);
  return { pieces, scores };
}
