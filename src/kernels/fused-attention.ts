import type { Shader } from '../gpu/shader.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import { attentionMatrixVariants, planAttentionMatrix, type AttentionMatrixVariant } from './attention-matrix.ts';
import { attentionLaunch, type AttentionPlan, type AttentionProblem } from './attention-operands.ts';
import {
  planAttentionSubgroup,
  attentionSubgroupVariant,
  type AttentionSubgroupVariant,
} from './attention-subgroup.ts';
import {
  chooseTile,
  DEFAULT_BLOCK_SIZE,
  tileConstants,
  tileVariants,
  valueDimBucket,
  type AttentionTileVariant,
} from './attention-tile.ts';
import { decide, NO_CHOICES, type Choice, type ChoiceKey } from './choice.ts';

export type FusedVariant = AttentionTileVariant | AttentionSubgroupVariant | AttentionMatrixVariant;

/** What the choice of a kernel depends on. */
export type AttentionSize = Pick<AttentionProblem, 'op' | 'dtype' | 'headDim' | 'valueDim'>;

/** Keys a step that tiles are offered with. */
const BLOCK_SIZES = [DEFAULT_BLOCK_SIZE, 64];

/** Every kernel that can compute such a problem on the device. */
export function attentionVariants(size: AttentionSize, traits: Traits): FusedVariant[] {
  const tiles = BLOCK_SIZES.flatMap((blockK) => tileVariants(size.valueDim, blockK, traits));
  const subgroup = attentionSubgroupVariant(size, traits);
  return [...attentionMatrixVariants(size, traits), ...tiles, ...(subgroup ? [subgroup] : [])];
}

/** Dims of one class share a choice, and mostly a compiled kernel. */
export function attentionKey({ op, dtype, headDim, valueDim }: AttentionSize): ChoiceKey {
  return { op, dtype, sizeClass: valueDimBucket(op, Math.max(valueDim, Math.min(headDim, 256))) };
}

/** What suits the device's class where nothing was measured. */
function preferred(size: AttentionSize, traits: Traits): Choice<FusedVariant> {
  const [matrix] = attentionMatrixVariants(size, traits);
  if (matrix) return { variant: matrix, reason: 'the device was opened for its tensor cores' };
  // SwiftShader, with subgroups of 4, seems to keep no array in registers: the tile kernel is twice as fast there
  const wantsSubgroups = traits.isSoftware && traits.subgroupSize >= 8;
  const subgroup = wantsSubgroups ? attentionSubgroupVariant(size, traits) : undefined;
  if (subgroup) return { variant: subgroup, reason: 'a CPU driver: neither barriers nor workgroup memory' };
  return {
    variant: chooseTile(size.op, size.valueDim, DEFAULT_BLOCK_SIZE, traits),
    reason: 'the most queries, up to 32, that fit workgroup memory and registers',
  };
}

/** `blockSize` asks for a tile of so many keys, whatever was chosen. */
export function chooseAttention(
  size: AttentionSize,
  traits: Traits,
  choices: KernelChoices,
  blockSize?: number,
): Choice<FusedVariant> {
  valueDimBucket(size.op, size.valueDim);
  if (blockSize !== undefined) {
    return { variant: chooseTile(size.op, size.valueDim, blockSize, traits), reason: 'blockSize was given' };
  }
  const fallback = preferred(size, traits);
  if (choices.pinned.size === 0 && choices.tuned.size === 0) return fallback;
  return decide(attentionKey(size), attentionVariants(size, traits), fallback, choices);
}

/** Plans `problem` for the chosen kernel; `tileShader` is the op's own, which walks the keys by tiles. */
export function planFusedAttention(
  tileShader: Shader,
  problem: AttentionProblem,
  traits: Traits,
  choices: KernelChoices = NO_CHOICES,
  blockSize?: number,
): AttentionPlan {
  const choice = chooseAttention(problem, traits, choices, blockSize);
  const { variant } = choice;
  if (variant.family === 'subgroup') return { choice, ...planAttentionSubgroup(problem, variant, traits) };
  if (variant.family === 'matrix') return { choice, ...planAttentionMatrix(problem, variant, traits) };
  return {
    choice,
    shader: tileShader,
    constants: tileConstants(problem, variant),
    ...attentionLaunch(problem, variant, traits),
  };
}
