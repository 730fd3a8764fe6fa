import type { Constants } from '../gpu/shader.ts';
import type { Traits } from '../tensor/traits.ts';
import type { AttentionGradientProblem } from './attention-gradient.ts';
import { DIM_BUCKETS } from './attention-operands.ts';
import type { Variant } from './choice.ts';
import { readsQuads, type Operand } from './launch.ts';

/** Twin of the constants of attention-gradient-query-subgroup.wgsl and attention-gradient-key-subgroup.wgsl, and of their part. */
export interface AttentionGradientSubgroupVariant extends Variant {
  readonly family: 'subgroup';
  /** Invocations of a subgroup. */
  readonly lanes: number;
  /** Queries, or keys, a workgroup. */
  readonly ownRows: number;
}

/** Undefined where subgroups, dims or a block mask's blocks do not allow it. */
export function attentionGradientSubgroupVariant(
  { headDim, valueDim, blocks }: Pick<AttentionGradientProblem, 'headDim' | 'valueDim' | 'blocks'>,
  { subgroupSize, isSoftware }: Traits,
): AttentionGradientSubgroupVariant | undefined {
  const dim = Math.max(headDim, valueDim);
  if (subgroupSize === 0 || (subgroupSize > 8 && !isSoftware) || dim > DIM_BUCKETS.at(-1)!) return undefined;
  // as many registers for 64 columns and 4 rows as for 256 and 1: more take too long to compile
  const rows = dim > 128 ? 1 : dim > 64 ? 2 : 4;
  const ownRows = subgroupSize * rows;
  if (ownRows > (blocks?.blockSize ?? Infinity)) return undefined;
  return { name: 'subgroup', family: 'subgroup', lanes: subgroupSize, ownRows };
}

/** `walked` are read by quads, which is a matter of compilation where all of them allow it. */
export function subgroupGradientSize(
  { headDim, valueDim }: AttentionGradientProblem,
  { lanes, ownRows }: AttentionGradientSubgroupVariant,
  walked: readonly Operand[],
): Constants {
  const dim = Math.max(headDim, valueDim);
  const isAligned = headDim % 4 === 0 && valueDim % 4 === 0 && walked.every((operand) => readsQuads(operand, 3));
  return {
    DIM: DIM_BUCKETS.find((size) => dim <= size)!,
    SUBGROUP: lanes,
    ROWS: ownRows / lanes,
    ...(isAligned && { ALIGNED: true }),
  };
}
