import source from '../../shaders/matmul.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { joinParts, type Constants } from '../gpu/shader.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import { decide, NO_CHOICES, type Choice, type ChoiceKey } from './choice.ts';
import {
  batchSize,
  matmulConstants,
  matmulLaunch,
  mergeRows,
  type MatmulProblem,
  type MatmulVariant,
} from './matmul-operands.ts';
import { matmulSubgroupVariant, planMatmulSubgroup, type MatmulSubgroupVariant } from './matmul-subgroup.ts';
import { PARTS } from './parts.ts';

const shader = joinParts('matmul', source, PARTS);

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

export type AnyMatmulVariant = MatmulTileVariant | MatmulSubgroupVariant;

/** What the choice of a kernel depends on. */
export type MatmulSize = Pick<MatmulProblem, 'batchShape' | 'rows' | 'columns' | 'aDType'>;

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
const FEW_TILES = 256;

/** Every kernel that can compute a product on the device. */
export function matmulVariants(traits: Traits): AnyMatmulVariant[] {
  const tiles = TILES.filter(
    ({ bytes, workgroup }) =>
      bytes <= traits.maxComputeWorkgroupStorageSize && workgroup <= traits.maxComputeInvocationsPerWorkgroup,
  );
  const subgroup = matmulSubgroupVariant(traits);
  return subgroup ? [...tiles, subgroup] : tiles;
}

/** `narrow`: at most 32 rows or columns; `few` and `many` blocks of 64 × 64. */
export function matmulKey(size: MatmulSize): ChoiceKey {
  const { rows, columns, aDType } = size;
  const isNarrow = rows <= 32 || columns <= 32;
  const sizeClass = isNarrow ? 'narrow' : countTiles(size) < FEW_TILES ? 'few' : 'many';
  return { op: 'matmul', dtype: aDType, sizeClass };
}

function countTiles({ rows, columns, ...problem }: MatmulSize): number {
  return batchSize(problem) * Math.ceil(rows / 64) * Math.ceil(columns / 64);
}

/** What suits the device's class where nothing was measured. */
function preferred(size: MatmulSize, traits: Traits): Choice<AnyMatmulVariant> {
  const subgroup = traits.isSoftware ? matmulSubgroupVariant(traits) : undefined;
  if (subgroup) return { variant: subgroup, reason: 'a CPU driver: neither barriers nor workgroup memory' };
  const { sizeClass } = matmulKey(size);
  if (sizeClass === 'narrow') return { variant: TILE_32, reason: 'at most 32 rows or columns' };
  if (sizeClass === 'few') return { variant: TILE_32, reason: `fewer than ${FEW_TILES} tiles of 64 × 64` };
  return { variant: TILE_64, reason: `${countTiles(size)} tiles of 64 × 64` };
}

export function chooseMatmul(size: MatmulSize, traits: Traits, choices: KernelChoices): Choice<AnyMatmulVariant> {
  const fallback = preferred(size, traits);
  if (choices.pinned.size === 0 && choices.tuned.size === 0) return fallback;
  return decide(matmulKey(size), matmulVariants(traits), fallback, choices);
}

export function planMatmul(given: MatmulProblem, traits: Traits, choices: KernelChoices = NO_CHOICES): MatmulPlan {
  const choice = chooseMatmul(given, traits, choices);
  const { variant } = choice;
  const problem = mergeRows(given);
  if (variant.family === 'subgroup') return { choice, ...planMatmulSubgroup(problem, variant, traits) };
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
