import source from '../../shaders/local-attention.wgsl';
import { joinParts } from '../gpu/shader.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import type { AttentionPlan, AttentionProblem, AttentionVariant } from './attention-operands.ts';
import { countKeyTiles } from './attention-tile.ts';
import { planFusedAttention } from './fused-attention.ts';
import { PARTS } from './parts.ts';

const shader = joinParts('local-attention', source, PARTS);

export function planLocalAttention(problem: AttentionProblem, traits: Traits, choices?: KernelChoices): AttentionPlan {
  return planFusedAttention('localAttention', shader, problem, traits, choices);
}

/** Key tiles that one head's workgroups visit: about length · (blockQ + window) / (blockQ · blockK). */
export function countLocalTiles(problem: AttentionProblem, tile: AttentionVariant): number {
  return countKeyTiles(problem, tile, ([begin, end]) => end - begin);
}
