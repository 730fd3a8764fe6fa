import source from '../../shaders/flash-attention.wgsl';
import { joinParts } from '../gpu/shader.ts';
import {
  chooseTile,
  DEFAULT_BLOCK_SIZE,
  planTile,
  type AttentionPlan,
  type AttentionProblem,
  type Tile,
} from './attention-tile.ts';
import type { Limits } from './launch.ts';
import { PARTS } from './parts.ts';
import { keyRange } from './visibility.ts';

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
export function countFlashTiles({ queryLength, keyLength, visibility }: AttentionProblem, tile: Tile): number {
  let count = 0;
  for (let first = 0; first < queryLength; first += tile.blockQ) {
    const last = Math.min(first + tile.blockQ, queryLength) - 1;
    const [, end] = keyRange(visibility.band, first, last, keyLength);
    count += Math.ceil(end / tile.blockK);
  }
  return count;
}
