import shader from '../../shaders/attention-gradient/query-subgroup.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { Traits } from '../tensor/traits.ts';
import { queryGradientLaunch, type AttentionGradientProblem } from './attention-gradient.ts';
import { subgroupGradientSize, type AttentionGradientSubgroupVariant } from './attention-gradient-subgroup.ts';

/** The gradient of q. */
export function planAttentionGradientQuerySubgroup(
  problem: AttentionGradientProblem,
  variant: AttentionGradientSubgroupVariant,
  traits: Traits,
): Launch {
  const { k, v } = problem;
  const constants = subgroupGradientSize(problem, variant, [k, v]);
  return queryGradientLaunch(shader, constants, problem, variant.ownRows, 0, traits);
}
