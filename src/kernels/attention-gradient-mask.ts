import shader from '../../shaders/attention-gradient/mask.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { Traits } from '../tensor/traits.ts';
import { gradientLaunch, type AttentionGradientProblem } from './attention-gradient.ts';

export interface GradientMaskProblem extends AttentionGradientProblem {
  /** Of batch, head, query, key; a length of 1 is broadcast. The buffer begins with it, its columns lie next to each other. */
  readonly dMask: { readonly lengths: readonly number[]; readonly strides: readonly number[] };
}

const BLOCK = 32;

/** A workgroup for each 32 × 32 elements of the mask. */
export function planAttentionGradientMask(problem: GradientMaskProblem, traits: Traits): Launch {
  const { lengths, strides } = problem.dMask;
  const [batches, heads, queries, keys] = lengths;
  const [queryTiles, keyTiles] = [Math.ceil(queries / BLOCK), Math.ceil(keys / BLOCK)];
  return gradientLaunch(shader, {}, problem, traits, {
    groups: batches * heads * queryTiles * keyTiles,
    query_tiles: queryTiles,
    key_tiles: keyTiles,
    head_tiles: heads,
    gradient_strides: strides.map((stride, axis) => (lengths[axis] === 1 ? 0 : stride)),
    first_column: 0,
  });
}
