import type { Shader } from '../gpu/shader.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import { attentionLaunch, type AttentionPlan, type AttentionProblem } from './attention-operands.ts';
import { planAttentionSubgroup, subgroupVariant, type SubgroupVariant } from './attention-subgroup.ts';
import {
  chooseTile,
  DEFAULT_BLOCK_SIZE,
  tileConstants,
  tileVariants,
  valueDimBucket,
  type TileVariant,
} from './attention-tile.ts';
import { decide, NO_CHOICES, type Choice, type ChoiceKey } from './choice.ts';

export type FusedVariant = TileVariant | SubgroupVariant;

/** What the choice of a kernel depends on. */
export type AttentionSize = Pick<AttentionProblem, 'op' | 'dtype' | 'headDim' | 'valueDim'>;

/** Keys a step that tiles are offered with. */
const BLOCK_SIZES = [DEFAULT_BLOCK_SIZE, 64];

/** Every kernel that can compute such a problem on the device. */
export function attentionVariants(size: AttentionSize, traits: Traits): FusedVariant[] {
  const tiles = BLOCK_SIZES.flatMap((blockK) => tileVariants(size.valueDim, blockK, traits));
  const subgroup = subgroupVariant(size, traits);
  return subgroup ? [...tiles, subgroup] : tiles;
}

/** Dims that share a compiled kernel share a choice. */
export function attentionKey(kernel: string, { op, dtype, headDim, valueDim }: AttentionSize): ChoiceKey {
  return { op: kernel, dtype, sizeClass: valueDimBucket(op, Math.max(valueDim, Math.min(headDim, 256))) };
}

/** What suits the device's class where nothing was measured. */
function preferred(size: AttentionSize, traits: Traits): Choice<FusedVariant> {
  const subgroup = traits.isSoftware ? subgroupVariant(size, traits) : undefined;
  if (subgroup) return { variant: subgroup, reason: 'a CPU driver: neither barriers nor workgroup memory' };
  return {
    variant: chooseTile(size.op, size.valueDim, DEFAULT_BLOCK_SIZE, traits),
    reason: 'the most queries, up to 32, that fit workgroup memory and registers',
  };
}

/** `kernel` is the name that choices know the op by; `blockSize` asks for a tile of so many keys. */
export function chooseAttention(
  kernel: string,
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
  return decide(attentionKey(kernel, size), attentionVariants(size, traits), fallback, choices);
}

/** Plans `problem` for the chosen kernel; `tileShader` is the op's own, which walks the keys by tiles. */
export function planFusedAttention(
  kernel: string,
  tileShader: Shader,
  problem: AttentionProblem,
  traits: Traits,
  choices: KernelChoices = NO_CHOICES,
  blockSize?: number,
): AttentionPlan {
  const choice = chooseAttention(kernel, problem, traits, choices, blockSize);
  const { variant } = choice;
  if (variant.family === 'subgroup') return { choice, ...planAttentionSubgroup(problem, variant, traits) };
  return {
    choice,
    shader: tileShader,
    constants: tileConstants(problem, variant),
    ...attentionLaunch(problem, variant, traits),
  };
}
