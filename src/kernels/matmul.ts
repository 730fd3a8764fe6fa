import shader from '../../shaders/matmul/tile.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { Constants } from '../gpu/shader.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import { decide, NO_CHOICES, type Choice, type ChoiceKey } from './choice.ts';
import { matmulMatrixVariants, planMatmulMatrix, type MatmulMatrixVariant } from './matmul-matrix.ts';
import {
  batchSize,
  matmulConstants,
  matmulLaunch,
  mergeRows,
  type MatmulProblem,
  type MatmulVariant,
} from './matmul-operands.ts';
import { matmulSubgroupVariant, planMatmulSubgroup, type MatmulSubgroupVariant } from './matmul-subgroup.ts';

/** Twin of the constants of matmul.wgsl. */
export interface MatmulTileVariant extends MatmulVariant {
  readonly family: 'tile';
  /** Quads of rows, and of columns, an invocation. */
  readonly quads: 1 | 2;
  /** Elements of the depth that are staged at a time. */
  readonly step: number;
  /** Invocations. */
  readonly workgroup: number;
  /** Workgroup memory. */
  readonly bytes: number;
}

export type AnyMatmulVariant = MatmulTileVariant | MatmulSubgroupVariant | MatmulMatrixVariant;

/** What the choice of a kernel depends on. */
export type MatmulSize = Pick<MatmulProblem, 'batchShape' | 'rows' | 'columns' | 'aDType'> &
  Partial<Pick<MatmulProblem, 'bDType' | 'zeroAnnihilates'>>;

export interface MatmulPlan extends Launch {
  readonly choice: Choice<AnyMatmulVariant>;
}

function tile(rows: number, columns: number, quads: 1 | 2, step: number): MatmulTileVariant {
  return {
    name: `tile-${rows}x${columns}`,
    family: 'tile',
    rows,
    columns,
    quads,
    step,
    workgroup: (rows * columns) / (16 * quads * quads),
    bytes: 4 * step * (rows + columns) + 16,
  };
}

const TILE_32 = tile(32, 32, 1, 32);
const TILE_64 = tile(64, 64, 2, 16);
const TILES = [TILE_32, TILE_64, tile(128, 64, 2, 16), tile(128, 128, 2, 16)];

/** Output tiles of 64 × 64 below which half the tile, with four times the workgroups, occupies a large GPU better. */
export const FEW_TILES = 256;

/** Every kernel that can compute such a product on the device. */
export function matmulVariants(size: MatmulSize, traits: Traits): AnyMatmulVariant[] {
  const tiles = TILES.filter(
    ({ bytes, workgroup }) =>
      bytes <= traits.maxComputeWorkgroupStorageSize && workgroup <= traits.maxComputeInvocationsPerWorkgroup,
  );
  const subgroup = matmulSubgroupVariant(traits);
  return [...matmulMatrixVariants(size, traits), ...tiles, ...(subgroup ? [subgroup] : [])];
}

/** `narrow`: at most 32 rows or columns; `few` and `many` blocks of 64 × 64. */
export function matmulKey(size: MatmulSize): ChoiceKey {
  const { rows, columns, aDType } = size;
  const isNarrow = rows <= 32 || columns <= 32;
  const sizeClass = isNarrow ? 'narrow' : countTiles(size) < FEW_TILES ? 'few' : 'many';
  return { op: 'matmul', dtype: aDType, sizeClass };
}

function countTiles({ rows, columns, ...problem }: MatmulSize, tile = { rows: 64, columns: 64 }): number {
  return batchSize(problem) * Math.ceil(rows / tile.rows) * Math.ceil(columns / tile.columns);
}

/** What suits the device's class where nothing was measured. */
function preferred(size: MatmulSize, traits: Traits): Choice<AnyMatmulVariant> {
  const subgroup = traits.isSoftware ? matmulSubgroupVariant(traits) : undefined;
  if (subgroup) return { variant: subgroup, reason: 'a CPU driver: neither barriers nor workgroup memory' };
  const { sizeClass } = matmulKey(size);
  if (sizeClass === 'narrow') return { variant: TILE_32, reason: 'at most 32 rows or columns' };
  const matrices = matmulMatrixVariants(size, traits);
  const widest = matrices.find((variant) => countTiles(size, variant) >= FEW_TILES) ?? matrices.at(-1);
  if (widest) return { variant: widest, reason: 'the device was opened for its tensor cores' };
  if (sizeClass === 'few') return { variant: TILE_32, reason: `fewer than ${FEW_TILES} tiles of 64 × 64` };
  return { variant: TILE_64, reason: `${countTiles(size)} tiles of 64 × 64` };
}

export function chooseMatmul(size: MatmulSize, traits: Traits, choices: KernelChoices): Choice<AnyMatmulVariant> {
  const fallback = preferred(size, traits);
  if (choices.pinned.size === 0 && choices.tuned.size === 0) return fallback;
  return decide(matmulKey(size), matmulVariants(size, traits), fallback, choices);
}

export function planMatmul(given: MatmulProblem, traits: Traits, choices: KernelChoices = NO_CHOICES): MatmulPlan {
  const problem = mergeRows(given); // first: many rows of a linear layer are not a batch of narrow products
  const choice = chooseMatmul(problem, traits, choices);
  const { variant } = choice;
  if (variant.family === 'subgroup') return { choice, ...planMatmulSubgroup(problem, variant, traits) };
  if (variant.family === 'matrix') return { choice, ...planMatmulMatrix(problem, variant, traits) };
  return {
    choice,
    shader,
    constants: { ...tileConstants(variant), ...matmulConstants(problem) },
    ...matmulLaunch(problem, variant, traits),
  };
}

function tileConstants({ rows, columns, quads, step, workgroup }: MatmulTileVariant): Constants {
  return { TILE_ROWS: rows, TILE_COLUMNS: columns, QUADS: quads, STEP: step, WORKGROUP: workgroup };
}

/** Workgroups for which a deep product is divided, and the least depth of its parts. */
const ENOUGH_GROUPS = 256;
const ENOUGH_GROUPS_ON_CPU = 16;
const SPLIT_DEPTH = 256;

/**
 * Into how many equal parts of the depth to divide a product whose output has too few blocks to occupy the device, as the
 * gradient of a weight has. The parts are to be summed.
 */
export function depthSplits(
  { rows, columns, depth }: Pick<MatmulProblem, 'rows' | 'columns' | 'depth'>,
  { isSoftware }: Pick<Traits, 'isSoftware'>,
): number {
  const blocks = Math.ceil(rows / TILE_32.rows) * Math.ceil(columns / TILE_32.columns);
  const enough = isSoftware ? ENOUGH_GROUPS_ON_CPU : ENOUGH_GROUPS;
  let splits = 1;
  while (2 * splits * blocks <= enough && depth % (2 * splits) === 0 && depth / (2 * splits) >= SPLIT_DEPTH) {
    splits *= 2;
  }
  return splits;
}
