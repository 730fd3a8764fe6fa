import shader from '../../shaders/optimiser/gradient-norm.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { BYTES, type FloatDType } from '../tensor/dtype.ts';
import { rowPitch, storageSize, type Shape } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups } from './launch.ts';

/** A gradient that lies row-major from its storage's start. */
export interface FlatTensor {
  readonly shape: Shape;
  readonly dtype: FloatDType;
}

/** How kernels that walk all of its storage see one. */
export function flatParams({ shape, dtype }: FlatTensor) {
  const size = storageSize(shape, dtype);
  const last = shape.at(-1)!;
  const isPadded = rowPitch(last, dtype) !== last;
  return {
    vectors: Math.ceil((size * BYTES[dtype]) / 16),
    size,
    columns: isPadded ? last : size,
    pitch: isPadded ? last + 1 : size,
  };
}

/** Vectors that an invocation adds up at least, where there are so many. */
const RUN = 4;
const MOST_GROUPS = 1024;

/** A CPU driver pays for each level of the tree that combines the invocations. */
function chooseWorkgroup({ isSoftware }: Traits): number {
  return isSoftware ? 32 : 256;
}

/** How many sums a gradient's squares come to. */
export function sumsOf(x: FlatTensor, traits: Traits): number {
  const { vectors } = flatParams(x);
  return Math.min(Math.ceil(vectors / (RUN * chooseWorkgroup(traits))), MOST_GROUPS);
}

/** The squares of one gradient, as `sumsOf` sums from `first` on. */
export function planSquares(op: string, x: FlatTensor, first: number, traits: Traits): Launch {
  const groups = sumsOf(x, traits);
  return {
    shader,
    constants: { WORKGROUP: chooseWorkgroup(traits), COMBINES: false, F16: x.dtype === 'float16' },
    params: { ...flatParams(x), groups, first, max_norm: 0, is_scaled: 0 },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}

const LARGEST = 3.4028234663852886e38;

/** The norm and what the gradients are multiplied by, from so many sums. */
export function planNorm(sums: number, maxNorm: number, isScaled: boolean, traits: Traits): Launch {
  return {
    shader,
    constants: { WORKGROUP: chooseWorkgroup(traits), COMBINES: true, F16: false },
    params: {
      ...flatParams({ shape: [sums], dtype: 'float32' }),
      groups: 1,
      first: 0,
      max_norm: Math.min(maxNorm, LARGEST),
      is_scaled: isScaled ? 1 : 0,
    },
    workgroups: [1, 1, 1],
  };
}
