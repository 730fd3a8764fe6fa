import shader from '../../shaders/attention/flash-attention.wgsl';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import type { AttentionPlan, AttentionProblem } from './attention-operands.ts';
import { planFusedAttention } from './fused-attention.ts';

export function planFlashAttention(
  problem: AttentionProblem,
  traits: Traits,
  choices?: KernelChoices,
  blockSize?: number,
): AttentionPlan {
  return planFusedAttention(shader, problem, traits, choices, blockSize);
}
