import shader from '../../shaders/attention/stream.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { Traits } from '../tensor/traits.ts';
import { attentionLaunch, DIM_BUCKETS, type AttentionProblem, type AttentionVariant } from './attention-operands.ts';
import { readsQuads } from './launch.ts';

/** Twin of the constants of attention-stream.wgsl. */
export interface AttentionStreamVariant extends AttentionVariant {
  readonly family: 'stream';
  /** Invocations, which divide the keys among them. */
  readonly lanes: number;
}

const ROW_BUCKETS = [1, 2, 4];

/** For up to twice four rows that share their keys; undefined for more, and where registers or workgroup memory do not hold them. */
export function attentionStreamVariant(
  { headDim, valueDim, rows }: Pick<AttentionProblem, 'headDim' | 'valueDim'> & { readonly rows: number },
  { subgroupSize, isSoftware, maxComputeWorkgroupStorageSize }: Traits,
): AttentionStreamVariant | undefined {
  const dim = DIM_BUCKETS.find((size) => Math.max(headDim, valueDim) <= size);
  const most = ROW_BUCKETS.at(-1)!;
  if (rows > 2 * most || dim === undefined || (dim > 128 && !isSoftware)) return undefined;
  // one vector of a CPU driver's; on a GPU a workgroup wants a few subgroups
  const blockQ = ROW_BUCKETS.find((size) => rows <= size) ?? most;
  const lanes = isSoftware ? Math.max(subgroupSize, 4) : 32;
  const bytes = lanes * (4 + 4 + 4 * dim); // maximum, sum and O of each
  if (bytes > maxComputeWorkgroupStorageSize) return undefined;
  return { name: 'stream', family: 'stream', blockQ, blockK: lanes, lanes };
}

export function planAttentionStream(
  problem: AttentionProblem,
  variant: AttentionStreamVariant,
  traits: Traits,
  splits: number,
): Launch {
  const { headDim, valueDim, k, v } = problem;
  const dim = Math.max(headDim, valueDim);
  const isAligned = headDim % 4 === 0 && valueDim % 4 === 0 && readsQuads(k, 3) && readsQuads(v, 3);
  const constants = {
    IS_F16: problem.dtype === 'float16',
    DIM: DIM_BUCKETS.find((size) => dim <= size)!,
    ROWS: variant.blockQ,
    LANES: variant.lanes,
    ...(isAligned && { ALIGNED: true }),
  };
  return attentionLaunch(shader, constants, problem, variant, traits, splits);
}
