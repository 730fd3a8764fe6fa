import shader from '../../shaders/attention-gradient/query.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { Traits } from '../tensor/traits.ts';
import {
  gradientDim,
  queryGradientLaunch,
  type AttentionGradientProblem,
  type TileSize,
} from './attention-gradient.ts';

/** Columns [firstColumn, firstColumn + 256) of the gradient of q. */
export function planAttentionGradientQuery(
  problem: AttentionGradientProblem,
  { ownRows }: TileSize,
  firstColumn: number,
  traits: Traits,
): Launch {
  const dim = gradientDim(problem.headDim - firstColumn);
  // an invocation sums dim / 32 quads of each of its rows: 16 at most
  const workgroup = Math.max(2 * ownRows, (ownRows * dim) / 64);
  const constants = { DIM: dim, OWN_ROWS: ownRows, WORKGROUP: workgroup };
  return queryGradientLaunch(shader, constants, problem, ownRows, firstColumn, traits);
}
