/**
 * Caches of keys and values as they ought to be, one token at a time, in float64. A token's key and value are rows of all
 * its heads, [H · D] and [H · Dv], of one sequence, or of several side by side, [B · H · D].
 */
import { type Float64HostArray, type HostArray, sizeOf, zeros } from './host-array.ts';
import { rotaryEmbedding } from './rotary-embedding.ts';

export interface Token {
  /** Tokens of the sequence before it. */
  readonly position: number;
  readonly key: Float64Array;
  readonly value: Float64Array;
}

/** Angles by position and pair, both [P, R / 2]. */
export interface RotaryTables {
  readonly cos: HostArray;
  readonly sin: HostArray;
  readonly interleaved: boolean;
}

/** Token n of k [B, H, N, D] and v [B, H, N, Dv]; with `rotary`, the first R elements of each key are rotated in pairs. */
export function tokenOf(k: HostArray, v: HostArray, n: number, position: number, rotary?: RotaryTables): Token {
  const row = ({ shape, data }: HostArray): Float64Array => {
    const [batch, heads, length, dim] = shape;
    return Float64Array.from(
      { length: batch * heads * dim },
      (_, at) => data[(Math.floor(at / dim) * length + n) * dim + (at % dim)],
    );
  };
  const [key, dim] = [row(k), k.shape[3]];
  if (!rotary) return { position, key, value: row(v) };
  const { cos, sin, interleaved } = rotary;
  const heads = { shape: [1, key.length / dim, 1, dim], data: key };
  const rotated = rotaryEmbedding(heads, cos, sin, { position: () => position, interleaved });
  return { position, key: rotated.data, value: row(v) };
}

/** Tokens as [B, H, slots, D] and [B, H, slots, Dv]; zeros where there is none. */
export function arrange(
  tokens: readonly (Token | undefined)[],
  [batch, heads, dim, valueDim]: readonly [number, number, number, number],
): { keys: Float64HostArray; values: Float64HostArray } {
  const fill = (width: number, row: (token: Token) => Float64Array) => {
    const result = zeros([batch, heads, tokens.length, width]);
    for (let at = 0; at < sizeOf(result.shape); at++) {
      const head = Math.floor(at / (tokens.length * width));
      const token = tokens[Math.floor(at / width) % tokens.length];
      if (token) result.data[at] = row(token)[head * width + (at % width)];
    }
    return result;
  };
  return { keys: fill(dim, ({ key }) => key), values: fill(valueDim, ({ value }) => value) };
}

/**
 * A fixed number of slots; in the end a new token takes the slot of the oldest one that is not among the first `sinks`. After a
 * truncation a new token takes the slot of the one that had its position.
 */
export class SlotModel {
  readonly slots: Token[] = [];
  readonly sinks: number;
  capacity: number;

  constructor(capacity: number, sinks: number) {
    this.capacity = capacity;
    this.sinks = sinks;
  }

  append(token: Token): void {
    const dropped = this.slots.findIndex(({ position }) => position === token.position);
    if (dropped >= 0) {
      this.slots[dropped] = token;
      return;
    }
    if (this.slots.length < this.capacity) {
      this.slots.push(token);
      return;
    }
    const evictable = this.slots.slice(this.sinks);
    const oldest = evictable.reduce((least, { position }, i) => (position < evictable[least].position ? i : least), 0);
    this.slots[this.sinks + oldest] = token;
  }

  /** Oldest first. */
  get tokens(): Token[] {
    return this.slots.toSorted((a, b) => a.position - b.position);
  }
}
