import shader from '../../shaders/attention-gradient/key.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { Traits } from '../tensor/traits.ts';
import { gradientDim, keyGradientLaunch, type AttentionGradientProblem, type TileSize } from './attention-gradient.ts';

/** Columns [firstColumn, firstColumn + 256) of the gradients of k and v. */
export function planAttentionGradientKey(
  problem: AttentionGradientProblem,
  { ownRows }: TileSize,
  firstColumn: number,
  traits: Traits,
): Launch {
  const dim = gradientDim(Math.max(problem.headDim, problem.valueDim) - firstColumn);
  // an invocation sums dim / 32 quads of each of its rows, for k and for v: 16 at most
  const workgroup = Math.max(2 * ownRows, (ownRows * dim) / 32);
  const constants = { DIM: dim, OWN_ROWS: ownRows, WORKGROUP: workgroup };
  return keyGradientLaunch(shader, constants, problem, ownRows, firstColumn, traits);
}
