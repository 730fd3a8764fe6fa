import source from '../../shaders/flash-attention.wgsl';
import { joinParts } from '../gpu/shader.ts';
import {
  chooseTile,
  countKeyTiles,
  DEFAULT_BLOCK_SIZE,
  planTile,
  type AttentionPlan,
  type AttentionProblem,
  type Tile,
} from './attention-tile.ts';
import type { Limits } from './launch.ts';
import { PARTS } from './parts.ts';

const shader = joinParts('flash-attention', source, PARTS);

export function planFlashAttention(
  problem: AttentionProblem,
  limits: Limits,
  blockSize = DEFAULT_BLOCK_SIZE,
): AttentionPlan {
  const tile = chooseTile(problem.op, problem.valueDim, blockSize, limits);
  return { shader, ...planTile(problem, tile, limits) };
}

/** Key tiles that one head's workgroups visit; with a causal mask about half of all. */
export function countFlashTiles(problem: AttentionProblem, tile: Tile): number {
  return countKeyTiles(problem, tile, ([, end]) => end);
}
