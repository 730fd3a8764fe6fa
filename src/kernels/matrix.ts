/** Kernels on tensor cores (subgroup matrices): which fit a device, and their shaders in the words of its compiler. */
import matmulShader from '../../shaders/matrix/matmul.wgsl';
import scalars from '../../shaders/matrix/parts/subgroup-matrix-scalars.wgsl';
import { replacePart, type Constants, type Shader } from '../gpu/shader.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { MatrixDialect, Traits } from '../tensor/traits.ts';
import type { Variant } from './choice.ts';
import type { Operand } from './launch.ts';

/** A shader that uses matrix/subgroup-matrix, in the words of either dialect. */
export function dialects(shader: Shader): Readonly<Record<MatrixDialect, Shader>> {
  return { vectors: shader, scalars: replacePart(shader, 'matrix/parts/subgroup-matrix', scalars) };
}

/** Where the subgroups of a workgroup stand, and how many lanes each has. */
export interface SubgroupGrid {
  /** Subgroups across the rows of the output. */
  readonly rowGroups: number;
  /** Subgroups across its columns. */
  readonly columnGroups: number;
  readonly lanes: number;
}

export function gridConstants({ rowGroups, columnGroups, lanes }: SubgroupGrid) {
  return {
    ROW_GROUPS: rowGroups,
    COLUMN_GROUPS: columnGroups,
    SUBGROUP: lanes,
    WORKGROUP: rowGroups * columnGroups * lanes,
  };
}

const matmulShaders = dialects(matmulShader);

/** Twin of the constants of matrix/matmul.wgsl. */
export interface MatmulMatrixVariant extends Variant, SubgroupGrid {
  readonly family: 'matrix';
  readonly dialect: MatrixDialect;
  /** Rows and columns of the output a workgroup. */
  readonly rows: number;
  readonly columns: number;
  /** Workgroup memory, in whichever order the operands lie. */
  readonly bytes: number;
}

/** Rows and columns of a tile, and subgroups across them; the widest first. */
const MATMUL_TILES = [
  [128, 128, 2, 4],
  [128, 64, 4, 2],
  [64, 64, 2, 2],
  [32, 32, 2, 2],
] as const;

interface MatmulDTypes {
  readonly aDType: FloatDType;
  readonly bDType?: FloatDType;
  readonly zeroAnnihilates?: boolean;
}

/** The tiles that fit the device, for products of float16 in which NaN times 0 is NaN. */
export function matmulMatrixVariants(
  { aDType, bDType = aDType, zeroAnnihilates }: MatmulDTypes,
  traits: Traits,
): MatmulMatrixVariant[] {
  const { subgroupMatrix: dialect, subgroupSize: lanes } = traits;
  if (!dialect || aDType !== 'float16' || bDType !== 'float16' || zeroAnnihilates) return [];
  return MATMUL_TILES.map(([rows, columns, rowGroups, columnGroups]): MatmulMatrixVariant => ({
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
function matmulTileBytes(rows: number, columns: number, subgroups: number): number {
  const linePitch = 5; // octets: 32 elements and 8 of padding
  return 16 * (2 * linePitch * (rows + columns) + 64 * subgroups);
}

/** The shader of a variant, with its own constants. */
export function matmulMatrixKernel(
  { a, b, outDType }: { readonly a: Operand; readonly b: Operand; readonly outDType: FloatDType },
  variant: MatmulMatrixVariant,
): { shader: Shader; constants: Constants } {
  return {
    shader: matmulShaders[variant.dialect],
    constants: {
      TILE_ROWS: variant.rows,
      TILE_COLUMNS: variant.columns,
      ...gridConstants(variant),
      A_BY_ROWS: liesByRows(a),
      B_BY_ROWS: liesByRows(b),
      OUT_F16: outDType === 'float16',
    },
  };
}

/** Whether neighbours in storage are neighbours in a column rather than in a row. */
function liesByRows({ strides }: Operand): boolean {
  return strides.at(-1) !== 1 && strides.at(-2) === 1;
}
