import source from '../../shaders/local-attention.wgsl';
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

const shader = joinParts('local-attention', source, PARTS);

export function planLocalAttention(problem: AttentionProblem, limits: Limits): AttentionPlan {
  const tile = chooseTile(problem.op, problem.valueDim, DEFAULT_BLOCK_SIZE, limits);
  return { shader, ...planTile(problem, tile, limits) };
}

/** Key tiles that one head's workgroups visit: about length · (blockQ + window) / (blockQ · blockK). */
export function countLocalTiles(problem: AttentionProblem, tile: Tile): number {
  return countKeyTiles(problem, tile, ([begin, end]) => end - begin);
}
