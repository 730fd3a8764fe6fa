import shader from '../../shaders/matrix/matmul.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { MatrixDialect, Traits } from '../tensor/traits.ts';
import type { Operand } from './launch.ts';
import { matmulLaunch, type MatmulProblem, type MatmulVariant } from './matmul-operands.ts';
import { gridConstants, dialects, type SubgroupGrid } from './subgroup-matrix.ts';

const shaders = dialects(shader);

/** Twin of the constants of matmul-matrix.wgsl. */
export interface MatmulMatrixVariant extends MatmulVariant, SubgroupGrid {
  readonly family: 'matrix';
  readonly dialect: MatrixDialect;
  /** Workgroup memory, however the operands lie. */
  readonly bytes: number;
}

/** Rows and columns of a tile, and subgroups across them; the widest first. */
const TILES = [
  [128, 128, 2, 4],
  [128, 64, 4, 2],
  [64, 64, 2, 2],
  [32, 32, 2, 2],
] as const;

/** The tiles that fit the device, for products of float16 in which NaN times 0 is NaN. */
export function matmulMatrixVariants(
  { aDType, bDType = aDType, zeroAnnihilates }: Pick<MatmulProblem, 'aDType'> & Partial<MatmulProblem>,
  traits: Traits,
): MatmulMatrixVariant[] {
  const { subgroupMatrix: dialect, subgroupSize: lanes } = traits;
  if (!dialect || aDType !== 'float16' || bDType !== 'float16' || zeroAnnihilates) return [];
  return TILES.map(([rows, columns, rowGroups, columnGroups]): MatmulMatrixVariant => ({
    name: `matrix-${rows}x${columns}`,
    family: 'matrix',
    dialect,
    rows,
    columns,
    rowGroups,
    columnGroups,
    lanes,
    bytes: matmulTileBytes(rows, columns, rowGroups * columnGroups),
  })).filter(
    ({ bytes, rowGroups, columnGroups }) =>
      bytes <= traits.maxComputeWorkgroupStorageSize &&
      rowGroups * columnGroups * lanes <= traits.maxComputeInvocationsPerWorkgroup,
  );
}

/** Bytes of the workgroup variables where both operands' lines run along K, the layout with the most padding. */
export function matmulTileBytes(rows: number, columns: number, subgroups: number): number {
  const linePitch = 5; // octets: 32 elements and 8 of padding
  return 16 * (2 * linePitch * (rows + columns) + 64 * subgroups);
}

export function planMatmulMatrix(problem: MatmulProblem, variant: MatmulMatrixVariant, traits: Traits): Launch {
  return {
    shader: shaders[variant.dialect],
    constants: {
      TILE_ROWS: variant.rows,
      TILE_COLUMNS: variant.columns,
      ...gridConstants(variant),
      A_BY_ROWS: liesByRows(problem.a),
      B_BY_ROWS: liesByRows(problem.b),
      OUT_F16: problem.outDType === 'float16',
    },
    ...matmulLaunch(problem, variant, traits),
  };
}

/** Whether neighbours in storage are neighbours in a column rather than in a row. */
function liesByRows({ strides }: Operand): boolean {
  return strides.at(-1) !== 1 && strides.at(-2) === 1;
}
