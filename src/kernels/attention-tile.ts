import { ArgumentError } from '../gpu/errors.ts';
import type { Constants } from '../gpu/shader.ts';
import type { Traits } from '../tensor/traits.ts';
import type { AttentionProblem, AttentionVariant } from './attention-operands.ts';
import { keyRange } from './visibility.ts';

/** Twin of the constants of parts/attention-tile.wgsl. */
export interface TileVariant extends AttentionVariant {
  readonly family: 'tile';
  /** Invocations, eight along a row. */
  readonly workgroup: number;
  /** Workgroup memory. */
  readonly bytes: number;
}

/** Keys a step of the online softmax that suit most devices: a 32 × 32 tile fits WebGPU's default 16 KiB. */
export const DEFAULT_BLOCK_SIZE = 32;

export const MAX_VALUE_DIM = 256;
const VALUE_DIM_BUCKETS = [32, 64, 128, MAX_VALUE_DIM];

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

/**
 * Query rows and invocations, the widest first: an invocation keeps four rows at most, of max(blockK, 32) / 8 scores and
 * valueDim / 8 outputs each.
 */
const ROWS_AND_WORKGROUPS = [
  [128, 256],
  [64, 128],
  [32, 64],
  [16, 64],
  [8, 64],
] as const;

/** The tiles of `blockK` keys that the device's limits and an invocation's registers have room for. */
export function tileVariants(valueDim: number, blockK: number, traits: Traits): TileVariant[] {
  const mostRows = valueDim > 128 || blockK > 32 ? 2 : 4;
  return ROWS_AND_WORKGROUPS.map(([blockQ, workgroup]): TileVariant => {
    return {
      name: `tile-${blockQ}x${blockK}`,
      family: 'tile',
      blockQ,
      blockK,
      workgroup,
      bytes: tileBytes(blockQ, blockK),
    };
  }).filter(
    ({ blockQ, workgroup, bytes }) =>
      bytes <= traits.maxComputeWorkgroupStorageSize &&
      workgroup <= traits.maxComputeInvocationsPerWorkgroup &&
      blockQ <= (mostRows * workgroup) / 8,
  );
}

/** @throws ArgumentError where not even eight query rows fit */
export function chooseTile(op: string, valueDim: number, blockK: number, traits: Traits): TileVariant {
  // 64 invocations suit every device; more of them is for the tuner to try
  const tile = tileVariants(valueDim, blockK, traits).find(({ workgroup }) => workgroup === 64);
  if (tile) return tile;
  throw new ArgumentError(
    `${op}: blockSize must fit the device's maxComputeWorkgroupStorageSize of ` +
      `${traits.maxComputeWorkgroupStorageSize} bytes, got ${blockK}, which needs ${tileBytes(8, blockK)} bytes`,
  );
}

export function tileConstants({ op, dtype, valueDim }: AttentionProblem, tile: TileVariant): Constants {
  return {
    IS_F16: dtype === 'float16',
    VALUE_DIM: valueDimBucket(op, valueDim),
    BLOCK_Q: tile.blockQ,
    BLOCK_K: tile.blockK,
    WORKGROUP: tile.workgroup,
  };
}

/** Key tiles of all query tiles of a head, of which each visits the tiles of `visited` keys of its range. */
export function countKeyTiles(
  { queryLength, keyLength, visibility }: AttentionProblem,
  { blockQ, blockK }: AttentionVariant,
  visited: (range: readonly [number, number]) => number,
): number {
  let count = 0;
  for (let first = 0; first < queryLength; first += blockQ) {
    const last = Math.min(first + blockQ, queryLength) - 1;
    const keys = visited(keyRange(visibility.band, first, last, keyLength));
    count += Math.ceil(Math.max(keys, 0) / blockK);
  }
  return count;
}
