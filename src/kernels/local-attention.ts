import source from '../../shaders/local-attention.wgsl';
import { joinParts } from '../gpu/shader.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import type { AttentionPlan, AttentionProblem } from './attention-operands.ts';
import { planFusedAttention } from './fused-attention.ts';
import { PARTS } from './parts.ts';

const shader = joinParts('local-attention', source, PARTS);

export function planLocalAttention(problem: AttentionProblem, traits: Traits, choices?: KernelChoices): AttentionPlan {
  return planFusedAttention(shader, problem, traits, choices);
}
