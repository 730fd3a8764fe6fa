/** What a tokenizer is, whatever its file. */

export interface Tokenizer {
  /** Tokens that the file lists; ids may go on past them in a padded model. */
  readonly vocabSize: number;
  /** The token that `encode` puts in front, if it does. */
  readonly beginToken: number | undefined;
  /** A text's tokens, with the begin token in front if the tokenizer has one. */
  encode(text: string): number[];
  /** Tokens' text; those that begin or end a text have none. */
  decode(tokens: readonly number[]): string;
  /** Decodes a text token by token. */
  stream(): TextStream;
}

/**
 * Text that comes token by token. A character's bytes may be spread over several tokens: it comes with the last of them.
 * Bytes that are no UTF-8 become U+FFFD.
 */
export class TextStream {
  readonly #pieceOf: (token: number) => Uint8Array | string;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  readonly #encoder = new TextEncoder();
  #dropsSpace: boolean;

  /** `dropsSpace`: the space that the tokenizer puts in front of a text is not part of it. */
  constructor(pieceOf: (token: number) => Uint8Array | string, dropsSpace: boolean) {
    this.#pieceOf = pieceOf;
    this.#dropsSpace = dropsSpace;
  }

  /** The text that the token completes, which may be none. */
  push(token: number): string {
    const piece = this.#pieceOf(token);
    let bytes = typeof piece === 'string' ? this.#encoder.encode(piece) : piece;
    if (bytes.length > 0 && this.#dropsSpace) {
      this.#dropsSpace = false;
      if (bytes[0] === 0x20) bytes = bytes.subarray(1);
    }
    return this.#decoder.decode(bytes, { stream: true });
  }

  /** What is left of a character that was cut off. */
  end(): string {
    return this.#decoder.decode();
  }
}

/** All of a stream at once. */
export function decodeAll(stream: TextStream, tokens: readonly number[]): string {
  return tokens.map((token) => stream.push(token)).join('') + stream.end();
}
