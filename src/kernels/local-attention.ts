import source from '../../shaders/local-attention.wgsl';
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

const shader = joinParts('local-attention', source, PARTS);

export function planLocalAttention(problem: AttentionProblem, limits: Limits): AttentionPlan {
  const tile = chooseTile(problem.op, problem.valueDim, DEFAULT_BLOCK_SIZE, limits);
  return { shader, ...planTile(problem, tile, limits) };
}

/** Key tiles that one head's workgroups visit: about length · (blockQ + window) / (blockQ · blockK). */
export function countLocalTiles({ queryLength, keyLength, visibility }: AttentionProblem, tile: Tile): number {
  let count = 0;
  for (let first = 0; first < queryLength; first += tile.blockQ) {
    const last = Math.min(first + tile.blockQ, queryLength) - 1;
    const [begin, end] = keyRange(visibility.band, first, last, keyLength);
    count += Math.ceil(Math.max(end - begin, 0) / tile.blockK);
  }
  return count;
}
