import source from '../../shaders/flash-attention.wgsl';
import { joinParts } from '../gpu/shader.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import type { AttentionPlan, AttentionProblem, AttentionVariant } from './attention-operands.ts';
import { countKeyTiles } from './attention-tile.ts';
import { planFusedAttention } from './fused-attention.ts';
import { PARTS } from './parts.ts';

const shader = joinParts('flash-attention', source, PARTS);

export function planFlashAttention(
  problem: AttentionProblem,
  traits: Traits,
  choices?: KernelChoices,
  blockSize?: number,
): AttentionPlan {
  return planFusedAttention('flashAttention', shader, problem, traits, choices, blockSize);
}

/** Key tiles that one head's workgroups visit; with a causal mask about half of all. */
export function countFlashTiles(problem: AttentionProblem, tile: AttentionVariant): number {
  return countKeyTiles(problem, tile, ([, end]) => end);
}
