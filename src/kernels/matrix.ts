/** Kernels on tensor cores (subgroup matrices): which fit a device. Their shaders come with its traits. */
import type { Constants, Shader } from '../gpu/shader.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { MatrixEntries, Traits } from '../tensor/traits.ts';
import type { Variant } from './choice.ts';
import type { Operand } from './launch.ts';

/** The grid of subgroups in a workgroup, and the lanes of each. */
interface SubgroupGrid {
  /** Subgroups across the rows of the output. */
  readonly rowGroups: number;
  /** Subgroups across its columns. */
  readonly columnGroups: number;
  readonly lanes: number;
  /** Whether the device has subgroups of other sizes too, so that a kernel must ask for its own. */
  readonly requiresLanes: boolean;
  /** In the dialect of the device's compiler. */
  readonly shaders: MatrixEntries;
  /** Whether right operands are staged by columns, because the GPU loads them 2 bytes at a time otherwise. */
  readonly turnsRight: boolean;
}

/** The subgroups that kernels have on the device, and how these load. */
function subgroupsOf({
  subgroupSize,
  requiredSubgroupSize,
  vendor,
}: Traits): Pick<SubgroupGrid, 'lanes' | 'requiresLanes' | 'turnsRight'> {
  return {
    lanes: requiredSubgroupSize ?? subgroupSize,
    requiresLanes: requiredSubgroupSize !== undefined,
    turnsRight: vendor === 'amd',
  };
}

function entryOf({ shaders, requiresLanes }: SubgroupGrid): Shader {
  return shaders[requiresLanes ? 'required' : 'any'];
}

function gridConstants({ rowGroups, columnGroups, lanes }: SubgroupGrid) {
  return {
    ROW_GROUPS: rowGroups,
    COLUMN_GROUPS: columnGroups,
    SUBGROUP: lanes,
    WORKGROUP: rowGroups * columnGroups * lanes,
  };
}

/** Twin of the constants of matrix/attention.wgsl. */
export interface AttentionMatrixVariant extends Variant, SubgroupGrid {
  readonly family: 'matrix';
  /** Query rows per workgroup. */
  readonly blockQ: number;
  /** Keys per step of the online softmax. */
  readonly blockK: number;
  /** Bucket of head and value dim. */
  readonly dim: number;
  /** Workgroup memory. */
  readonly bytes: number;
}

/** Query rows and keys per step, the tile that should be fastest on large GPUs first. */
const ATTENTION_BLOCKS = [
  [64, 32],
  [128, 32],
  [64, 64],
  [32, 32],
] as const;

/** Buckets of head and value dim. */
const ATTENTION_DIMS = [32, 64, 96, 128, 256];

/** The tiles that fit the device, for float16 and dims up to 256. */
export function attentionMatrixVariants(
  { dtype, headDim, valueDim }: { readonly dtype: FloatDType; readonly headDim: number; readonly valueDim: number },
  traits: Traits,
): AttentionMatrixVariant[] {
  const { subgroupMatrix } = traits;
  const subgroups = subgroupsOf(traits);
  const { lanes } = subgroups;
  const dim = ATTENTION_DIMS.find((size) => Math.max(headDim, valueDim) <= size);
  if (!subgroupMatrix || dtype !== 'float16' || dim === undefined) return [];
  // A lane of 32 holds rows · dim / 64 registers of q and as many of O: with 32 rows a subgroup at 128 dims, 64 of each. RDNA3 holds q
  // twice, and spills 159 registers there. With 16 rows it spills none at 128 dims. At 256 it spills 226.
  const isAmd = traits.vendor === 'amd';
  if (isAmd && dim > 128) return [];
  const mostRows = dim > (isAmd ? 64 : 128) ? 16 : 32;
  return ATTENTION_BLOCKS.map(([blockQ, blockK]): AttentionMatrixVariant => {
    const grid = {
      rowGroups: Math.max(blockQ / mostRows, 2),
      columnGroups: 2,
      shaders: subgroupMatrix.attention,
      ...subgroups,
    };
    return {
      name: `matrix-${blockQ}x${blockK}`,
      family: 'matrix',
      blockQ,
      blockK,
      dim,
      ...grid,
      bytes: attentionTileBytes(blockQ, blockK, dim, grid),
    };
  }).filter(({ bytes, blockQ, blockK, rowGroups, columnGroups }) => {
    const invocations = rowGroups * columnGroups * lanes;
    return (
      bytes <= traits.maxComputeWorkgroupStorageSize &&
      invocations <= traits.maxComputeInvocationsPerWorkgroup &&
      8 * invocations <= blockQ * blockK // in the softmax a lane has at least eight neighbouring scores
    );
  });
}

/** Bytes of the workgroup variables, each rounded up to 16 as WebGPU counts them. */
function attentionTileBytes(
  blockQ: number,
  blockK: number,
  dim: number,
  { rowGroups, columnGroups, turnsRight }: Pick<SubgroupGrid, 'rowGroups' | 'columnGroups' | 'turnsRight'>,
): number {
  const kOctets = blockK * (dim / 8 + 1);
  const vOctets = turnsRight ? Math.max(kOctets, dim * (blockK / 8 + 1)) : kOctets;
  const octets = kOctets + vOctets + blockQ * (blockK / 8 + 1);
  const quads = blockQ * (blockK / 4 + 1);
  const flags = Math.ceil((rowGroups * columnGroups) / 4);
  return 16 * (octets + quads + flags);
}

/** The shader of a variant, with its own constants. */
export function attentionMatrixKernel(variant: AttentionMatrixVariant): { shader: Shader; constants: Constants } {
  const { dim, blockQ, blockK } = variant;
  return {
    shader: entryOf(variant),
    constants: {
      DIM: dim,
      BLOCK_Q: blockQ,
      BLOCK_K: blockK,
      ...gridConstants(variant),
      TURNS_V: variant.turnsRight,
    },
  };
}

/** Twin of the constants of matrix/matmul.wgsl. */
export interface MatmulMatrixVariant extends Variant, SubgroupGrid {
  readonly family: 'matrix';
  /** Rows and columns of the output a workgroup. */
  readonly rows: number;
  readonly columns: number;
  /** Workgroup memory, for any order of the operands. */
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
  const { subgroupMatrix } = traits;
  const subgroups = subgroupsOf(traits);
  if (!subgroupMatrix || aDType !== 'float16' || bDType !== 'float16' || zeroAnnihilates) return [];
  return MATMUL_TILES.map(([rows, columns, rowGroups, columnGroups]): MatmulMatrixVariant => ({
    name: `matrix-${rows}x${columns}`,
    family: 'matrix',
    rows,
    columns,
    rowGroups,
    columnGroups,
    shaders: subgroupMatrix.matmul,
    ...subgroups,
    bytes: matmulTileBytes(rows, columns, rowGroups * columnGroups),
  })).filter(
    ({ bytes, rowGroups, columnGroups }) =>
      bytes <= traits.maxComputeWorkgroupStorageSize &&
      rowGroups * columnGroups * subgroups.lanes <= traits.maxComputeInvocationsPerWorkgroup,
  );
}

/** Bytes of the workgroup variables if both operands' lines run along K, the layout with the most padding. */
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
    shader: entryOf(variant),
    constants: {
      TILE_ROWS: variant.rows,
      TILE_COLUMNS: variant.columns,
      ...gridConstants(variant),
      A_BY_ROWS: liesByRows(a),
      B_BY_ROWS: liesByRows(b),
      TURNS_B: variant.turnsRight && !liesByRows(b),
      OUT_F16: outDType === 'float16',
    },
  };
}

/** Whether neighbours in storage are neighbours in a column rather than in a row. */
function liesByRows({ strides }: Operand): boolean {
  return strides.at(-1) !== 1 && strides.at(-2) === 1;
}
