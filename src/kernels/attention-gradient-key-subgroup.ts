import shader from '../../shaders/attention-gradient/key-subgroup.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { Traits } from '../tensor/traits.ts';
import { keyGradientLaunch, type AttentionGradientProblem } from './attention-gradient.ts';
import { subgroupGradientSize, type AttentionGradientSubgroupVariant } from './attention-gradient-subgroup.ts';

/** The gradients of k and v. */
export function planAttentionGradientKeySubgroup(
  problem: AttentionGradientProblem,
  variant: AttentionGradientSubgroupVariant,
  traits: Traits,
): Launch {
  const { q, dOutput } = problem;
  const constants = subgroupGradientSize(problem, variant, [q, dOutput]);
  return keyGradientLaunch(shader, constants, problem, variant.ownRows, 0, traits);
}
