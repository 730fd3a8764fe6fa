/** Rows that a cache keeps as codes with scales, as numbers in float64. The layout is that of docs/reference/caches.md. */
import type { Float64HostArray, HostArray } from './host-array.ts';

export type CodedDType = 'int8' | 'int4';

/** A group of codes with its scale. */
export interface Group {
  readonly first: number;
  readonly scale: number;
  readonly codes: readonly number[];
  /** What its last word holds behind the codes. */
  readonly rest: number;
}

const FORMATS = { int8: { bits: 8, most: Infinity }, int4: { bits: 4, most: 32 } };

/** The groups of the row of `dim` numbers that begins at a word. */
export function groupsOf(words: Uint32Array, begin: number, dim: number, dtype: CodedDType): Group[] {
  const { bits, most } = FORMATS[dtype];
  const groups: Group[] = [];
  let at = begin;
  for (let first = 0; first < dim; first += most) {
    const count = Math.min(most, dim - first);
    const scale = new Float32Array(words.buffer, words.byteOffset + 4 * at++, 1)[0];
    const wordCount = Math.ceil((count * bits) / 32);
    const packed = [...words.subarray(at, at + wordCount)].reduceRight((sum, word) => (sum << 32n) | BigInt(word), 0n);
    const codes = Array.from({ length: count }, (_, i) => Number(BigInt.asIntN(bits, packed >> BigInt(bits * i))));
    groups.push({ first, scale, codes, rest: Number(packed >> BigInt(bits * count)) });
    at += wordCount;
  }
  return groups;
}

/** Numbers [.., dim] of rows of words [.., W]. */
export function decode(words: Uint32Array, shape: readonly number[], dim: number, dtype: CodedDType): Float64HostArray {
  const pitch = shape.at(-1)!;
  const rows = words.length / pitch;
  const data = new Float64Array(rows * dim);
  for (let row = 0; row < rows; row++) {
    for (const { first, scale, codes } of groupsOf(words, row * pitch, dim, dtype)) {
      codes.forEach((code, i) => (data[row * dim + first + i] = scale * code));
    }
  }
  return { shape: [...shape.slice(0, -1), dim], data };
}

/** Rows [.., dim] times an orthonormal Hadamard matrix, in groups of 32 and blocks of powers of two (Sylvester's order). */
export function hadamard({ shape, data }: HostArray): Float64HostArray {
  const dim = shape.at(-1)!;
  const result = new Float64Array(data.length);
  for (let at = 0; at < data.length; at++) {
    const column = at % dim;
    const first = column - (column % 32);
    let block = 32;
    while (Math.min(32, dim - first) % block !== 0) block /= 2;
    const begin = column - ((column - first) % block);
    for (let i = 0; i < block; i++) {
      const common = ((column - begin) & i).toString(2).replaceAll('0', '').length;
      result[at] += (common % 2 === 0 ? 1 : -1) * data[at - column + begin + i];
    }
    result[at] /= Math.sqrt(block);
  }
  return { shape, data: result };
}
