import type { Launch } from '../gpu/runtime.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import { columnPasses, type AttentionGradientProblem, type TileSize } from './attention-gradient.ts';
import { planAttentionGradientKey } from './attention-gradient-key.ts';
import { planAttentionGradientKeySubgroup } from './attention-gradient-key-subgroup.ts';
import { planAttentionGradientQuery } from './attention-gradient-query.ts';
import { planAttentionGradientQuerySubgroup } from './attention-gradient-query-subgroup.ts';
import {
  attentionGradientSubgroupVariant,
  type AttentionGradientSubgroupVariant,
} from './attention-gradient-subgroup.ts';
import { formatKey, NO_CHOICES, type Choice, type Variant } from './choice.ts';
import { attentionKey } from './fused-attention.ts';

export interface AttentionGradientTileVariant extends Variant, TileSize {
  readonly family: 'tile';
}

export type AttentionGradientVariant = AttentionGradientTileVariant | AttentionGradientSubgroupVariant;

export interface AttentionGradientPlan {
  readonly choice: Choice<AttentionGradientVariant>;
  /** The gradient of q. */
  readonly query: readonly Launch[];
  /** Those of k and v. */
  readonly key: readonly Launch[];
}

/** Fits every device. */
const TILE: AttentionGradientTileVariant = { name: 'tile-32x32', family: 'tile', ownRows: 32 };

/**
 * The kernels of the family that the op's own kernel was pinned to, or else tuned to, if that family has any here; else what
 * suits the device's class.
 */
export function chooseAttentionGradient(
  problem: AttentionGradientProblem,
  traits: Traits,
  choices: KernelChoices = NO_CHOICES,
): Choice<AttentionGradientVariant> {
  const subgroup = attentionGradientSubgroupVariant(problem, traits);
  const ofFamily = (forward = '') =>
    forward === 'subgroup' ? subgroup : forward.startsWith('tile') ? TILE : undefined;
  const pinned = ofFamily(choices.pinned.get(problem.op));
  if (pinned) return { variant: pinned, reason: 'pinned' };
  const forward = choices.tuned.size > 0 ? choices.tuned.get(formatKey(attentionKey(problem))) : undefined;
  const tuned = ofFamily(forward?.kernel);
  if (tuned) return { variant: tuned, reason: `tune() chose ${forward!.kernel} forward on ${forward!.date}` };
  // as forward: with subgroups of 4 the tile kernels are faster
  if (subgroup && traits.isSoftware && traits.subgroupSize >= 8) {
    return { variant: subgroup, reason: 'a CPU driver: neither barriers nor workgroup memory' };
  }
  return { variant: TILE, reason: 'fits every device' };
}

/** The kernels that follow the one that writes each row's statistics. */
export function planFusedAttentionGradient(
  problem: AttentionGradientProblem,
  traits: Traits,
  choices?: KernelChoices,
): AttentionGradientPlan {
  const choice = chooseAttentionGradient(problem, traits, choices);
  const { variant } = choice;
  if (variant.family === 'subgroup') {
    return {
      choice,
      query: [planAttentionGradientQuerySubgroup(problem, variant, traits)],
      key: [planAttentionGradientKeySubgroup(problem, variant, traits)],
    };
  }
  const { headDim, valueDim } = problem;
  return {
    choice,
    query: columnPasses(headDim).map((column) => planAttentionGradientQuery(problem, variant, column, traits)),
    key: columnPasses(Math.max(headDim, valueDim)).map((column) =>
      planAttentionGradientKey(problem, variant, column, traits),
    ),
  };
}
