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
import { NO_CHOICES, type Choice, type Variant } from './choice.ts';

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

/** The kernels of the family that the op's own kernel was pinned to, if it has one here; else what suits the device's class. */
export function chooseAttentionGradient(
  problem: AttentionGradientProblem,
  traits: Traits,
  choices: KernelChoices = NO_CHOICES,
): Choice<AttentionGradientVariant> {
  const pinned = choices.pinned.get(problem.op) ?? '';
  const subgroup = attentionGradientSubgroupVariant(problem, traits);
  if (subgroup && pinned === 'subgroup') return { variant: subgroup, reason: 'pinned' };
  if (pinned.startsWith('tile')) return { variant: TILE, reason: 'pinned' };
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
