/** The interface of a tokenizer, from any kind of file. */
import { ArgumentError } from '../gpu/errors.ts';
import { describe } from '../ops/internal/check.ts';

export interface Tokenizer {
  /** Number of tokens that the file lists. A padded model may have ids beyond them. */
  readonly vocabSize: number;
  /** The token that `encode` puts in front of a text, if any. */
  readonly beginToken: number | undefined;
  /**
   * Returns the tokens of a text, after the begin token if the tokenizer has one.
   *
   * @throws ArgumentError if the text is not a string
   */
  encode(text: string): number[];
  /**
   * Returns the text of tokens, from a list or a typed array. Tokens that begin or end a text have none, nor have numbers that
   * are not tokens.
   *
   * @throws ArgumentError if the tokens are no list
   */
  decode(tokens: Iterable<number>): string;
  /** Decodes a text token by token. */
  stream(): TextStream;
}

/**
 * Decodes text token by token. If the bytes of a character are spread over several tokens, it comes with the last of them.
 * Bytes that are not UTF-8 become U+FFFD.
 */
export class TextStream {
  readonly #pieceOf: (token: number) => Uint8Array | string;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  readonly #encoder = new TextEncoder();
  #dropsSpace: boolean;

  /** @param dropsSpace whether to leave out the space that the tokenizer put in front of the text */
  constructor(pieceOf: (token: number) => Uint8Array | string, dropsSpace: boolean) {
    this.#pieceOf = pieceOf;
    this.#dropsSpace = dropsSpace;
  }

  /** Returns the text that the token completes, which may be empty. */
  push(token: number): string {
    const piece = this.#pieceOf(token);
    let bytes = typeof piece === 'string' ? this.#encoder.encode(piece) : piece;
    if (bytes.length > 0 && this.#dropsSpace) {
      this.#dropsSpace = false;
      if (bytes[0] === 0x20) bytes = bytes.subarray(1);
    }
    return this.#decoder.decode(bytes, { stream: true });
  }

  /** Ends the text, and returns the rest of a character that was cut off. */
  end(): string {
    return this.#decoder.decode();
  }
}

export function checkText(text: unknown): asserts text is string {
  if (typeof text !== 'string') {
    throw new ArgumentError(`encode: text must be a string, got ${describe(text)}`);
  }
}

/** Decodes all tokens at once. */
export function decodeAll(stream: TextStream, tokens: Iterable<number>): string {
  const isList = typeof tokens === 'object' && typeof tokens?.[Symbol.iterator] === 'function';
  if (!isList) throw new ArgumentError(`decode: tokens must be a list of numbers, got ${describe(tokens)}`);
  return Array.from(tokens, (token) => stream.push(token)).join('') + stream.end();
}
