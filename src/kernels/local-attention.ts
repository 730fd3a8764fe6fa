import shader from '../../shaders/attention/local-attention.wgsl';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import type { AttentionPlan, AttentionProblem } from './attention-operands.ts';
import { planFusedAttention } from './fused-attention.ts';

export function planLocalAttention(problem: AttentionProblem, traits: Traits, choices?: KernelChoices): AttentionPlan {
  return planFusedAttention(shader, problem, traits, choices);
}
