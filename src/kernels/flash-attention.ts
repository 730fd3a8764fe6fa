import source from '../../shaders/flash-attention.wgsl';
import { joinParts } from '../gpu/shader.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import type { AttentionPlan, AttentionProblem } from './attention-operands.ts';
import { planFusedAttention } from './fused-attention.ts';
import { PARTS } from './parts.ts';

const shader = joinParts('flash-attention', source, PARTS);

export function planFlashAttention(
  problem: AttentionProblem,
  traits: Traits,
  choices?: KernelChoices,
  blockSize?: number,
): AttentionPlan {
  return planFusedAttention(shader, problem, traits, choices, blockSize);
}
