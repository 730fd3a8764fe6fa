/** How caches keep numbers: as floats, or as codes with scales, whose layout shaders/parts/codes.wgsl describes. */
import codedKeys from '../../shaders/attention/parts/coded-keys.wgsl';
import codedValues from '../../shaders/attention/parts/coded-values.wgsl';
import { replacePart, type Constants, type Shader } from '../gpu/shader.ts';
import { BYTES, type CacheDType } from '../tensor/dtype.ts';
import { rowPitch } from '../tensor/shape.ts';
import type { KeyStorage } from './attention.ts';

/** Numbers of a row, as they are stored. */
export interface RowFormat {
  readonly dim: number;
  readonly dtype: CacheDType;
}

/** Columns of a group of 4-bit codes. */
const CODE_GROUP = 32;

/** Bits of a stored number. */
export const BITS: Readonly<Record<CacheDType, number>> = { float32: 32, float16: 16, int8: 8, int4: 4 };

export function isCoded(dtype: CacheDType): dtype is 'int8' | 'int4' {
  return dtype === 'int8' || dtype === 'int4';
}

/** 32-bit words of a row. */
export function rowWords({ dim, dtype }: RowFormat): number {
  if (!isCoded(dtype)) return (rowPitch(dim, dtype) * BYTES[dtype]) / 4;
  return rowGroups({ dim, dtype }) + Math.ceil((dim * BITS[dtype]) / 32);
}

/** Groups of codes that have a scale each. */
export function rowGroups({ dim, dtype }: RowFormat): number {
  return dtype === 'int4' ? Math.ceil(dim / CODE_GROUP) : 1;
}

/**
 * The Hadamard matrices by which an append multiplies the groups of a key of 4-bit codes, in one symmetric matrix [D, D]: each is
 * of the largest power of two that divides its group.
 */
export function hadamardMatrix(dim: number): Float32Array {
  const matrix = new Float32Array(dim * dim);
  for (let row = 0; row < dim; row++) {
    const first = row - (row % CODE_GROUP);
    const count = Math.min(CODE_GROUP, dim - first);
    const block = count & -count;
    const begin = row - ((row - first) % block);
    for (let i = 0; i < block; i++) {
      const isOdd = ones((row - begin) & i) % 2 === 1;
      matrix[row * dim + begin + i] = (isOdd ? -1 : 1) / Math.sqrt(block);
    }
  }
  return matrix;
}

/** Bits of a number that are 1. */
function ones(bits: number): number {
  let count = 0;
  for (let rest = bits; rest > 0; rest >>= 1) count += rest & 1;
  return count;
}

/** How attention's kernels read keys and values that are not both float32, or both float16. */
export function keyStorage(key: CacheDType, value: CacheDType): KeyStorage | undefined {
  if (key === value && !isCoded(key)) return undefined;
  const constants: Constants = {
    ...(isCoded(key) ? { K_BITS: BITS[key] } : { K_F16: key === 'float16' }),
    ...(isCoded(value) ? { V_BITS: BITS[value] } : { V_F16: value === 'float16' }),
  };
  return {
    hasKeyCodes: isCoded(key),
    hasValueCodes: isCoded(value),
    constants,
    readerOf: (shader) => readerOf(shader, isCoded(key), isCoded(value)),
  };
}

/** Shaders with other readers, by which pipelines are found: made once. */
const readers = new WeakMap<Shader, Map<string, Shader>>();

function readerOf(shader: Shader, hasKeyCodes: boolean, hasValueCodes: boolean): Shader {
  let known = readers.get(shader);
  if (!known) readers.set(shader, (known = new Map()));
  const key = `${hasKeyCodes} ${hasValueCodes}`;
  let made = known.get(key);
  if (!made) {
    made = shader;
    if (hasKeyCodes) made = replacePart(made, 'attention/parts/keys', codedKeys);
    if (hasValueCodes) made = replacePart(made, 'attention/parts/values', codedValues);
    known.set(key, made);
  }
  return made;
}
