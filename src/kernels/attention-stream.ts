import source from '../../shaders/attention-stream.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { joinParts } from '../gpu/shader.ts';
import type { Traits } from '../tensor/traits.ts';
import { attentionLaunch, DIM_BUCKETS, type AttentionProblem, type AttentionVariant } from './attention-operands.ts';
import { PARTS } from './parts.ts';

const shader = joinParts('attention-stream', source, PARTS);

/** Twin of the constants of attention-stream.wgsl. */
export interface AttentionStreamVariant extends AttentionVariant {
  readonly family: 'stream';
  /** Invocations, which divide the keys among them. */
  readonly lanes: number;
}

const ROW_BUCKETS = [1, 2, 4];
const STEP = 4;

/** For up to twice four rows that share their keys; undefined for more, and where registers do not hold them. */
export function attentionStreamVariant(
  { headDim, valueDim, rows }: Pick<AttentionProblem, 'headDim' | 'valueDim'> & { readonly rows: number },
  { subgroupSize, isSoftware }: Traits,
): AttentionStreamVariant | undefined {
  const dim = Math.max(headDim, valueDim);
  const most = ROW_BUCKETS.at(-1)!;
  if (rows > 2 * most || dim > (isSoftware ? DIM_BUCKETS.at(-1)! : 128)) return undefined;
  // one vector of a CPU driver's; on a GPU a workgroup wants a few subgroups, and workgroup memory a bound
  const lanes = isSoftware ? Math.max(subgroupSize, 4) : 32;
  return {
    name: 'stream',
    family: 'stream',
    blockQ: ROW_BUCKETS.find((size) => rows <= size) ?? most,
    blockK: lanes * STEP,
    lanes,
  };
}

export function planAttentionStream(
  problem: AttentionProblem,
  variant: AttentionStreamVariant,
  traits: Traits,
  splits: number,
): Launch {
  const dim = Math.max(problem.headDim, problem.valueDim);
  const constants = {
    IS_F16: problem.dtype === 'float16',
    DIM: DIM_BUCKETS.find((size) => dim <= size)!,
    ROWS: variant.blockQ,
    LANES: variant.lanes,
  };
  return attentionLaunch(shader, constants, problem, variant, traits, splits);
}
