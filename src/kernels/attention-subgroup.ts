import shader from '../../shaders/attention/subgroup.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { Traits } from '../tensor/traits.ts';
import { attentionLaunch, DIM_BUCKETS, type AttentionProblem, type AttentionVariant } from './attention-operands.ts';

/** Twin of the constants of attention-subgroup.wgsl. */
export interface AttentionSubgroupVariant extends AttentionVariant {
  readonly family: 'subgroup';
  /** Invocations of a subgroup. */
  readonly lanes: number;
  /** Query rows an invocation. */
  readonly rows: number;
}

const BLOCK_K = 8;

/** Undefined where subgroups or dims do not allow it, and where q and O would want too many of a GPU's registers. */
export function attentionSubgroupVariant(
  { headDim, valueDim }: Pick<AttentionProblem, 'headDim' | 'valueDim'>,
  { subgroupSize, isSoftware }: Traits,
): AttentionSubgroupVariant | undefined {
  const dim = Math.max(headDim, valueDim);
  if (subgroupSize === 0 || (subgroupSize > 8 && !isSoftware) || dim > DIM_BUCKETS.at(-1)!) return undefined;
  const rows = dim > 64 ? 2 : 4; // four rows of more dims take too long to compile
  return {
    name: 'subgroup',
    family: 'subgroup',
    blockQ: subgroupSize * rows,
    blockK: BLOCK_K,
    lanes: subgroupSize,
    rows,
  };
}

export function planAttentionSubgroup(
  problem: AttentionProblem,
  variant: AttentionSubgroupVariant,
  traits: Traits,
  splits: number,
): Launch {
  const dim = Math.max(problem.headDim, problem.valueDim);
  const constants = {
    IS_F16: problem.dtype === 'float16',
    DIM: DIM_BUCKETS.find((size) => dim <= size)!,
    SUBGROUP: variant.lanes,
    ROWS: variant.rows,
  };
  return attentionLaunch(shader, constants, problem, variant, traits, splits);
}
