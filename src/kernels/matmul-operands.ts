import { ArgumentError } from '../gpu/errors.ts';
import type { Launch } from '../gpu/runtime.ts';
import type { Constants } from '../gpu/shader.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { coalesce, formatShape, type Shape } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import type { Variant } from './choice.ts';
import { foldWorkgroups, readsQuads, type Operand } from './launch.ts';

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
  /** An exact zero in a times anything in b is zero, be it NaN or infinite. */
  readonly zeroAnnihilates?: boolean;
}

/** One way to compute a matrix product. */
export interface MatmulVariant extends Variant {
  /** Rows and columns of the output a workgroup. */
  readonly rows: number;
  readonly columns: number;
}

/** Four neighbours of a matrix in one vector: 1 along a row, 2 along a column, 0 neither. */
function quadAxis({ strides, offset }: Operand): number {
  const rank = strides.length;
  if (readsQuads({ strides, offset }, rank - 1)) return 1;
  return readsQuads({ strides, offset }, rank - 2) ? 2 : 0;
}

/** With one b for the whole batch, as in a linear layer, a's evenly strided rows are those of one larger matrix. */
export function mergeRows(problem: MatmulProblem): MatmulProblem {
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

export function matmulConstants(problem: MatmulProblem): Constants {
  return {
    A_F16: problem.aDType === 'float16',
    B_F16: problem.bDType === 'float16',
    OUT_F16: problem.outDType === 'float16',
    ZERO_ANNIHILATES: problem.zeroAnnihilates ?? false,
  };
}

/** The parameters and workgroups that all matmul kernels share: a workgroup for each block of each batch entry. */
export function matmulLaunch(
  problem: MatmulProblem,
  variant: MatmulVariant,
  traits: Traits,
): Pick<Launch, 'params' | 'workgroups'> {
  const { op, batchShape, rows, columns, depth, a, b, output } = problem;
  const batchAxes = batchShape.length;
  const batch = coalesce(
    batchShape,
    [a, b, output].map(({ strides }) => strides.slice(0, batchAxes)),
  );
  if (batch.shape.length > 3) {
    throw new ArgumentError(
      `${op}: batch axes must merge into at most three evenly strided ones, got ${formatShape(batchShape)}`,
    );
  }
  const rowTiles = Math.ceil(rows / variant.rows);
  const columnTiles = Math.ceil(columns / variant.columns);
  const groups = rowTiles * columnTiles * batchSize(problem);
  const inner3 = (values: readonly number[], fill: number) => [
    ...Array.from({ length: 3 - values.length }, () => fill),
    ...values,
    0,
  ];
  return {
    params: {
      groups,
      rows,
      columns,
      depth,
      row_tiles: rowTiles,
      column_tiles: columnTiles,
      batch_shape: inner3(batch.shape, 1),
      a_batch_strides: inner3(batch.strides[0], 0),
      b_batch_strides: inner3(batch.strides[1], 0),
      output_batch_strides: inner3(batch.strides[2], 0),
      a_strides: a.strides.slice(-2),
      b_strides: b.strides.slice(-2),
      a_offset: a.offset,
      b_offset: b.offset,
      bias_offset: problem.biasOffset ?? 0,
      has_bias: problem.biasOffset === undefined ? 0 : 1,
      a_quads: quadAxis(a),
      b_quads: quadAxis(b),
      output_row_stride: output.strides.at(-2)!,
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}

/** Matrices in the batch. */
export function batchSize({ batchShape }: Pick<MatmulProblem, 'batchShape'>): number {
  return batchShape.reduce((product, length) => product * length, 1);
}
