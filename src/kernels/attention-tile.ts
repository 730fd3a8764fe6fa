import { ArgumentError } from '../gpu/errors.ts';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { foldWorkgroups, readsQuads, type Limits, type Operand } from './launch.ts';
import { keyRange, visibilityParams, type Visibility } from './visibility.ts';

/** What the fused attention kernels compute; strides are those of batch, head, row, column. */
export interface AttentionProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly dtype: FloatDType;
  readonly batch: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly queryLength: number;
  readonly keyLength: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly scale: number;
  readonly q: Operand;
  readonly k: Operand;
  readonly v: Operand;
  readonly output: Operand;
  readonly visibility: Visibility;
  readonly writesLogSumExp: boolean;
}

/** Twin of the constants of parts/attention-tile.wgsl. */
export interface Tile {
  /** Query rows a workgroup. */
  readonly blockQ: number;
  /** Keys a step of the online softmax. */
  readonly blockK: number;
  /** The value dim's bucket. */
  readonly valueDim: number;
  /** Workgroup memory. */
  readonly bytes: number;
}

export interface AttentionPlan extends Launch {
  readonly tile: Tile;
}

/** Keys a step of the online softmax that suit most devices: a 32 × 32 tile fits WebGPU's default 16 KiB. */
export const DEFAULT_BLOCK_SIZE = 32;

export const MAX_VALUE_DIM = 256;
const VALUE_DIM_BUCKETS = [32, 64, 128, MAX_VALUE_DIM];

/** Bytes of the workgroup variables of parts/attention-tile.wgsl, each rounded up to 16 as WebGPU counts them. */
export function tileBytes(blockQ: number, blockK: number): number {
  const rowPitch = 9;
  const quads = (blockQ + blockK) * rowPitch + blockQ * (blockK / 4 + 1) - 3; // no padding after the last row of each
  return 16 * quads + 4 * blockQ * 8 + 16;
}

/**
 * The most query rows that fit workgroup memory and registers: an invocation keeps blockQ / 8 rows of
 * max(blockK, 32) / 8 scores and of valueDim / 8 outputs.
 */
export function chooseTile(op: string, valueDim: number, blockK: number, limits: Limits): Tile {
  const bucket = VALUE_DIM_BUCKETS.find((size) => valueDim <= size);
  if (bucket === undefined) {
    throw new ArgumentError(`${op}: value headDim must be at most ${MAX_VALUE_DIM}, got ${valueDim}`);
  }
  const most = limits.maxComputeWorkgroupStorageSize;
  const rows = bucket === MAX_VALUE_DIM || blockK > 32 ? [16, 8] : [32, 16, 8];
  const blockQ = rows.find((candidate) => tileBytes(candidate, blockK) <= most);
  if (blockQ === undefined) {
    throw new ArgumentError(
      `${op}: blockSize must fit the device's maxComputeWorkgroupStorageSize of ${most} bytes, ` +
        `got ${blockK}, which needs ${tileBytes(8, blockK)} bytes`,
    );
  }
  return { blockQ, blockK, valueDim: bucket, bytes: tileBytes(blockQ, blockK) };
}

/** The constants, parameters and workgroups that both fused kernels share. */
export function planTile(problem: AttentionProblem, tile: Tile, limits: Limits): Omit<AttentionPlan, 'shader'> {
  const { q, k, v, output } = problem;
  const queryTiles = Math.ceil(problem.queryLength / tile.blockQ);
  const groups = queryTiles * problem.heads * problem.batch;
  const vectorLoads = [q, k, v].reduce((bits, operand, i) => bits | (Number(readsQuads(operand, 3)) << i), 0);
  return {
    tile,
    constants: {
      IS_F16: problem.dtype === 'float16',
      VALUE_DIM: tile.valueDim,
      BLOCK_Q: tile.blockQ,
      BLOCK_K: tile.blockK,
    },
    params: {
      groups,
      query_tiles: queryTiles,
      heads: problem.heads,
      group_size: problem.heads / problem.kvHeads,
      query_length: problem.queryLength,
      key_length: problem.keyLength,
      head_dim: problem.headDim,
      value_dim: problem.valueDim,
      scale: problem.scale,
      q_strides: q.strides,
      k_strides: k.strides,
      v_strides: v.strides,
      output_strides: output.strides,
      q_offset: q.offset,
      k_offset: k.offset,
      v_offset: v.offset,
      vector_loads: vectorLoads,
      writes_log_sum_exp: problem.writesLogSumExp ? 1 : 0,
      ...visibilityParams(problem.visibility),
    },
    workgroups: foldWorkgroups(problem.op, groups, limits),
  };
}

/** Key tiles of all query tiles of a head, of which each visits the tiles of `visited` keys of its range. */
export function countKeyTiles(
  { queryLength, keyLength, visibility }: AttentionProblem,
  { blockQ, blockK }: Tile,
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
