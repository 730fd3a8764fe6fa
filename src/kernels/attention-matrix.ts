import shader from '../../shaders/matrix/attention.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { MatrixDialect, Traits } from '../tensor/traits.ts';
import { attentionLaunch, DIM_BUCKETS, type AttentionProblem, type AttentionVariant } from './attention-operands.ts';
import { gridConstants, dialects, type SubgroupGrid } from './matrix.ts';

const shaders = dialects(shader);

/** Twin of the constants of attention-matrix.wgsl. */
export interface AttentionMatrixVariant extends AttentionVariant, SubgroupGrid {
  readonly family: 'matrix';
  readonly dialect: MatrixDialect;
  /** Bucket of head and value dim. */
  readonly dim: number;
  /** Workgroup memory. */
  readonly bytes: number;
}

/** Query rows and keys a step, what is expected to be fastest on large GPUs first. */
const BLOCKS = [
  [64, 32],
  [128, 32],
  [64, 64],
  [32, 32],
] as const;

/** The tiles that fit the device, for float16 and dims up to 256. */
export function attentionMatrixVariants(
  { dtype, headDim, valueDim }: Pick<AttentionProblem, 'dtype' | 'headDim' | 'valueDim'>,
  traits: Traits,
): AttentionMatrixVariant[] {
  const { subgroupMatrix: dialect, subgroupSize: lanes } = traits;
  const dim = DIM_BUCKETS.find((size) => Math.max(headDim, valueDim) <= size);
  if (!dialect || dtype !== 'float16' || dim === undefined) return [];
  // a lane of 32 holds rows · dim / 16 registers of q and as many of O: with 32 rows a subgroup at 128 dims, 64 of each
  const mostRows = dim > 128 ? 16 : 32;
  return BLOCKS.map(([blockQ, blockK]): AttentionMatrixVariant => {
    const grid = { rowGroups: Math.max(blockQ / mostRows, 2), columnGroups: 2, lanes };
    return {
      name: `matrix-${blockQ}x${blockK}`,
      family: 'matrix',
      dialect,
      blockQ,
      blockK,
      dim,
      ...grid,
      bytes: matrixTileBytes(blockQ, blockK, dim, grid),
    };
  }).filter(({ bytes, blockQ, blockK, rowGroups, columnGroups }) => {
    const invocations = rowGroups * columnGroups * lanes;
    return (
      bytes <= traits.maxComputeWorkgroupStorageSize &&
      invocations <= traits.maxComputeInvocationsPerWorkgroup &&
      8 * invocations <= blockQ * blockK // in the softmax a lane has eight neighbouring scores at least
    );
  });
}

/** Bytes of the workgroup variables, each rounded up to 16 as WebGPU counts them. */
export function matrixTileBytes(
  blockQ: number,
  blockK: number,
  dim: number,
  { rowGroups, columnGroups }: SubgroupGrid,
): number {
  const octets = 2 * blockK * (dim / 8 + 1) + blockQ * (blockK / 8 + 1);
  const quads = blockQ * (blockK / 4 + 1);
  const flags = Math.ceil((rowGroups * columnGroups) / 4);
  return 16 * (octets + quads + flags);
}

export function planAttentionMatrix(
  problem: AttentionProblem,
  variant: AttentionMatrixVariant,
  traits: Traits,
): Launch {
  const { dim, blockQ, blockK, dialect } = variant;
  const constants = { DIM: dim, BLOCK_Q: blockQ, BLOCK_K: blockK, ...gridConstants(variant) };
  return attentionLaunch(shaders[dialect], constants, problem, variant, traits);
}
