/** Matrix products: the problem, its kernels with and without workgroup memory, and the choice between them. */
import subgroupShader from '../../shaders/matmul/subgroup.wgsl';
import tileShader from '../../shaders/matmul/tile.wgsl';
import { ArgumentError } from '../gpu/errors.ts';
import type { Launch } from '../gpu/runtime.ts';
import type { Constants, Shader } from '../gpu/shader.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { coalesce, formatShape, type Shape } from '../tensor/shape.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import { decide, NO_CHOICES, type Choice, type ChoiceKey, type Variant } from './choice.ts';
import { foldWorkgroups, readsQuads, type Operand } from './launch.ts';
import { matmulMatrixKernel, matmulMatrixVariants, type MatmulMatrixVariant } from './matrix.ts';

/** output [batch…, M, N] = a [batch…, M, K] · b [batch…, K, N] + bias [N]. */
export interface MatmulProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly batchShape: Shape;
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly aDType: FloatDType;
  readonly bDType: FloatDType;
  readonly outDType: FloatDType;
  /** Strides of the batch axes (0 where broadcast), rows, columns. */
  readonly a: Operand;
  readonly b: Operand;
  /** Its columns are neighbours. */
  readonly output: Operand;
  readonly biasOffset?: number;
  /** An exact zero in a times anything in b is zero, even NaN and infinity. */
  readonly zeroAnnihilates?: boolean;
}

/** Twin of the constants of matmul/tile.wgsl. */
export interface MatmulTileVariant extends Variant {
  readonly family: 'tile';
  /** Rows and columns of the output a workgroup. */
  readonly rows: number;
  readonly columns: number;
  /** Rows, and quads of columns, of the output an invocation. */
  readonly laneRows: number;
  readonly laneQuads: number;
  /** Elements of the depth that are staged at a time. */
  readonly step: number;
  /** Invocations. */
  readonly workgroup: number;
  /** Workgroup memory. */
  readonly bytes: number;
}

/** Without workgroup memory or barriers; twin of the constants of matmul/subgroup.wgsl. */
export interface MatmulSubgroupVariant extends Variant {
  readonly family: 'subgroup';
  /** Rows and columns of the output a workgroup. */
  readonly rows: number;
  readonly columns: number;
  /** Invocations of a subgroup. */
  readonly lanes: number;
}

export type AnyMatmulVariant = MatmulTileVariant | MatmulSubgroupVariant | MatmulMatrixVariant;

/** What the choice of a kernel depends on. */
export type MatmulSize = Pick<MatmulProblem, 'batchShape' | 'rows' | 'columns' | 'aDType'> &
  Partial<Pick<MatmulProblem, 'bDType' | 'zeroAnnihilates'>>;

export interface MatmulPlan extends Launch {
  readonly choice: Choice<AnyMatmulVariant>;
}

function tile(rows: number, columns: number, laneRows: number, laneQuads: number, step: number): MatmulTileVariant {
  const paddedQuads = rows * (step / 4 + 1) + step * (columns / 4 + 1);
  return {
    name: `tile-${rows}x${columns}`,
    family: 'tile',
    rows,
    columns,
    laneRows,
    laneQuads,
    step,
    workgroup: (rows * columns) / (4 * laneRows * laneQuads),
    bytes: 2 * 16 * paddedQuads,
  };
}

const TILE_32 = tile(32, 32, 4, 1, 16);
const TILE_64 = tile(64, 64, 8, 2, 8);
const TILES = [TILE_32, TILE_64, tile(64, 32, 8, 1, 8), tile(128, 64, 8, 2, 8), tile(128, 128, 8, 2, 8)];

/** Undefined if there are no subgroups of one size, and where so many rows a subgroup need more registers than a GPU has. */
function subgroupVariant({ subgroupSize: lanes, isSoftware }: Traits): MatmulSubgroupVariant | undefined {
  if (lanes === 0 || (lanes > 8 && !isSoftware)) return undefined;
  return { name: 'subgroup', family: 'subgroup', rows: 4 * lanes, columns: 4 * Math.min(lanes, 8), lanes };
}

/** With fewer output tiles of 64 × 64 than this, half the tile size, with four times the workgroups, keeps a large GPU busier. */
export const FEW_TILES = 256;

/** Every kernel that can compute such a product on the device. */
export function matmulVariants(size: MatmulSize, traits: Traits): AnyMatmulVariant[] {
  const tiles = TILES.filter(
    ({ bytes, workgroup }) =>
      bytes <= traits.maxComputeWorkgroupStorageSize && workgroup <= traits.maxComputeInvocationsPerWorkgroup,
  );
  const subgroup = subgroupVariant(traits);
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

/** What suits the device's class if nothing was measured. */
function preferred(size: MatmulSize, traits: Traits): Choice<AnyMatmulVariant> {
  const subgroup = traits.isSoftware ? subgroupVariant(traits) : undefined;
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

/** A workgroup for each block of the output of each batch entry. */
export function planMatmul(given: MatmulProblem, traits: Traits, choices: KernelChoices = NO_CHOICES): MatmulPlan {
  const problem = mergeRows(given); // first: many rows of a linear layer are not a batch of narrow products
  const choice = chooseMatmul(problem, traits, choices);
  return { choice, ...matmulLaunch(problem, choice.variant, traits) };
}

export function matmulLaunch(problem: MatmulProblem, variant: AnyMatmulVariant, traits: Traits): Launch {
  const { op, rows, columns, depth } = problem;
  const rowTiles = Math.ceil(rows / variant.rows);
  const columnTiles = Math.ceil(columns / variant.columns);
  const groups = rowTiles * columnTiles * batchSize(problem);
  const operands = operandParams(problem);
  return {
    ...kernelOf(problem, variant, operands),
    params: { first_group: 0, end_group: groups, row_tiles: rowTiles, column_tiles: columnTiles, ...operands },
    workgroups: foldWorkgroups(op, groups, traits),
    operations: 2 * batchSize(problem) * rows * columns * depth,
  };
}

function kernelOf(
  problem: MatmulProblem,
  variant: AnyMatmulVariant,
  { a, b }: ReturnType<typeof operandParams>,
): { shader: Shader; constants: Constants } {
  if (variant.family === 'matrix') return matmulMatrixKernel(problem, variant);
  const storage = {
    A_F16: problem.aDType === 'float16',
    B_F16: problem.bDType === 'float16',
    OUT_F16: problem.outDType === 'float16',
    ZERO_ANNIHILATES: problem.zeroAnnihilates ?? false,
  };
  if (variant.family === 'subgroup') {
    return { shader: subgroupShader, constants: { SUBGROUP: variant.lanes, ...storage } };
  }
  const { rows, columns, laneRows, laneQuads, step, workgroup } = variant;
  const lane = { ROWS: laneRows, QUADS: laneQuads, STEP: step, WORKGROUP: workgroup };
  const tile = { TILE_ROWS: rows, TILE_COLUMNS: columns, ...lane };
  return { shader: tileShader, constants: { ...tile, ...storage, A_VECTORS: a.vectors, B_VECTORS: b.vectors } };
}

/** Twins of the constants of matmul/parts/operands.wgsl: the axis of a factor along which vectors are read. */
const ALONG_K = 1;
const ACROSS_K = 2;

/** Where a, b, bias and output lie; the batch as three axes, the innermost last. */
function operandParams({ op, batchShape, rows, columns, depth, a, b, output, biasOffset }: MatmulProblem) {
  const batch = coalesce(
    batchShape,
    [a, b, output].map(({ strides }) => strides.slice(0, batchShape.length)),
  );
  if (batch.shape.length > 3) {
    throw new ArgumentError(
      `${op}: batch axes must merge into at most three evenly strided ones, got ${formatShape(batchShape)}`,
    );
  }
  const padded = (values: readonly number[], fill: number) => [...[fill, fill, fill].slice(values.length), ...values];
  const [aBatch, bBatch, outputBatch] = batch.strides.map((strides) => padded(strides, 0));
  return {
    rows,
    columns,
    depth,
    batch_shape: padded(batch.shape, 1).slice(1),
    a: { batch_strides: aBatch, ...factorParams(a, -1) },
    b: { batch_strides: bBatch, ...factorParams(b, -2) },
    output: { batch_strides: outputBatch, row_stride: output.strides.at(-2)! },
    bias: { offset: biasOffset ?? 0, columns: biasOffset === undefined ? 0 : columns },
  };
}

/** `depthAxis`: -1 or -2, the axis along K. */
function factorParams({ strides, offset }: Operand, depthAxis: number) {
  const rank = strides.length;
  const otherAxis = -3 - depthAxis;
  const liesAlong = (axis: number) => readsQuads({ strides, offset }, rank + axis);
  return {
    offset,
    strides: [strides.at(depthAxis)!, strides.at(otherAxis)!],
    vectors: liesAlong(depthAxis) ? ALONG_K : liesAlong(otherAxis) ? ACROSS_K : 0,
  };
}

/** With one b for the whole batch, as in a linear layer, a's evenly strided rows are those of one larger matrix. */
function mergeRows(problem: MatmulProblem): MatmulProblem {
  const { a, b, output, batchShape, rows } = problem;
  const merged = coalesce(
    [...batchShape, rows],
    [a, output].map(({ strides }) => strides.slice(0, -1)),
  );
  if (merged.shape.length > 1 || b.strides.slice(0, -2).some((stride) => stride !== 0)) return problem;
  const matrixOf = ({ strides, offset }: Operand, [rowStride = 0]: readonly number[]) => ({
    strides: [rowStride, strides.at(-1)!],
    offset,
  });
  return {
    ...problem,
    batchShape: [],
    rows: merged.shape[0] ?? 1,
    a: matrixOf(a, merged.strides[0]),
    b: { strides: b.strides.slice(-2), offset: b.offset },
    output: matrixOf(output, merged.strides[1]),
  };
}

/** Matrices in the batch. */
function batchSize({ batchShape }: Pick<MatmulProblem, 'batchShape'>): number {
  return batchShape.reduce((product, length) => product * length, 1);
}

/** The number of workgroups that dividing a deep product aims for, and the least depth of its parts. */
const ENOUGH_GROUPS = 256;
const ENOUGH_GROUPS_ON_CPU = 16;
const SPLIT_DEPTH = 256;

/**
 * The number of equal parts into which to divide the depth of a product whose output has too few blocks to keep the device busy,
 * such as the gradient of a weight. The caller sums the parts.
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
