import { ArgumentError } from '../gpu/errors.ts';
import type { Launch } from '../gpu/runtime.ts';
import type { Shader } from '../gpu/shader.ts';
import type { Traits } from '../tensor/traits.ts';
import { attentionLaunch, type AttentionProblem, type AttentionVariant } from './attention-operands.ts';

/** Twin of the constants of parts/attention-tile.wgsl. */
export interface AttentionTileVariant extends AttentionVariant {
  readonly family: 'tile';
  /** Invocations, eight along a row. */
  readonly workgroup: number;
  /** Workgroup memory. */
  readonly bytes: number;
}

/** Keys a step of the online softmax that suit most devices: a 32 × 32 tile fits WebGPU's default 16 KiB. */
export const DEFAULT_BLOCK_SIZE = 32;

export const MAX_VALUE_DIM = 256;
export const VALUE_DIM_BUCKETS = [32, 64, 128, MAX_VALUE_DIM];

/** The registers of O, refused where there are none for so many columns. */
export function valueDimBucket(op: string, valueDim: number): number {
  const bucket = VALUE_DIM_BUCKETS.find((size) => valueDim <= size);
  if (bucket !== undefined) return bucket;
  throw new ArgumentError(`${op}: value headDim must be at most ${MAX_VALUE_DIM}, got ${valueDim}`);
}

/** Bytes of the workgroup variables of parts/attention-tile.wgsl, each rounded up to 16 as WebGPU counts them. */
export function tileBytes(blockQ: number, blockK: number): number {
  const rowPitch = 9;
  const quads = (blockQ + blockK) * rowPitch + blockQ * (blockK / 4 + 1) - 3; // no padding after the last row of each
  return 16 * quads + 4 * blockQ * 8 + 16;
}

/** Query rows a workgroup. */
const BLOCK_QS = [128, 64, 32, 16, 8];
const MOST_INVOCATIONS = 256;

/**
 * The tiles of `blockK` keys that the device's limits and an invocation's registers have room for, the widest first. An
 * invocation keeps four rows at most, of max(blockK, 32) / 8 scores and valueDim / 8 outputs each; two where those are
 * many.
 */
export function tileVariants(valueDim: number, blockK: number, traits: Traits): AttentionTileVariant[] {
  const mostRows = valueDim > 128 || blockK > 32 ? 2 : 4;
  const most = Math.min(MOST_INVOCATIONS, traits.maxComputeInvocationsPerWorkgroup);
  return BLOCK_QS.map((blockQ): AttentionTileVariant => {
    const workgroup = Math.max(64, (8 * blockQ) / mostRows);
    return {
      name: `tile-${blockQ}x${blockK}`,
      family: 'tile',
      blockQ,
      blockK,
      workgroup,
      bytes: tileBytes(blockQ, blockK),
    };
  }).filter(({ workgroup, bytes }) => bytes <= traits.maxComputeWorkgroupStorageSize && workgroup <= most);
}

/** @throws ArgumentError where not even eight query rows fit */
export function chooseTile(op: string, valueDim: number, blockK: number, traits: Traits): AttentionTileVariant {
  // 64 invocations suit every device; more of them is for the tuner to try
  const tile = tileVariants(valueDim, blockK, traits).find(({ workgroup }) => workgroup === 64);
  if (tile) return tile;
  throw new ArgumentError(
    `${op}: blockSize must fit the device's maxComputeWorkgroupStorageSize of ` +
      `${traits.maxComputeWorkgroupStorageSize} bytes, got ${blockK}, which needs ${tileBytes(8, blockK)} bytes`,
  );
}

/** `shader` is the op's own, which says where a tile's keys begin. */
export function planAttentionTile(
  shader: Shader,
  problem: AttentionProblem,
  variant: AttentionTileVariant,
  traits: Traits,
  splits: number,
): Launch {
  const constants = {
    IS_F16: problem.dtype === 'float16',
    VALUE_DIM: valueDimBucket(problem.op, problem.valueDim),
    BLOCK_Q: variant.blockQ,
    BLOCK_K: variant.blockK,
    WORKGROUP: variant.workgroup,
  };
  return attentionLaunch(shader, constants, problem, variant, traits, splits);
}
