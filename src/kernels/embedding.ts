/** Rows of a table by their numbers, and the gradient of the table: the kernels of shaders/embedding. */
import shader from '../../shaders/embedding/embedding.wgsl';
import gradientShader from '../../shaders/embedding/gradient.wgsl';
import mergeShader from '../../shaders/embedding/merge-ids.wgsl';
import orderShader from '../../shaders/embedding/order-ids.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { rowPitch } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, operandFields, type Limits, type Operand } from './launch.ts';

export interface EmbeddingProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** Ids, and so rows of the output. */
  readonly rows: number;
  /** First of the ids, which are neighbours. */
  readonly idsOffset: number;
  /** V and E. */
  readonly tableRows: number;
  readonly columns: number;
  readonly dtype: FloatDType;
  /** Strides of row and column. */
  readonly weight: Operand;
}

const WORKGROUP = 256;

export function planEmbedding(problem: EmbeddingProblem, limits: Limits): Launch {
  const { op, rows, columns, dtype, weight } = problem;
  const rowQuads = Math.ceil(columns / 4);
  const quads = rows * rowQuads;
  return {
    shader,
    constants: { F16: dtype === 'float16' },
    params: {
      quads,
      row_quads: rowQuads,
      columns,
      table_rows: problem.tableRows,
      output_pitch: rowPitch(columns, dtype),
      ids_offset: problem.idsOffset,
      weight: operandFields(weight),
    },
    workgroups: foldWorkgroups(op, Math.ceil(quads / WORKGROUP), limits),
  };
}

export interface OrderIdsProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly count: number;
  /** First of the ids, which are neighbours. */
  readonly idsOffset: number;
}

const IDS_WORKGROUP = 64;

/** Ids of a run: twin of the constant of order-ids.wgsl. */
export const RUN = 1024;

export function planOrderIds({ op, count, idsOffset }: OrderIdsProblem, limits: Limits): Launch {
  return {
    shader: orderShader,
    constants: { RUN },
    params: { count, ids_offset: idsOffset },
    workgroups: foldWorkgroups(op, Math.ceil(count / IDS_WORKGROUP), limits),
  };
}

export interface MergeIdsProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly count: number;
  /** Ids of a run. */
  readonly run: number;
}

export function planMergeIds({ op, count, run }: MergeIdsProblem, limits: Limits): Launch {
  return {
    shader: mergeShader,
    constants: {},
    params: { count, run },
    workgroups: foldWorkgroups(op, Math.ceil(count / IDS_WORKGROUP), limits),
  };
}

export interface EmbeddingGradientProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** Ids, and so rows of the gradient. */
  readonly rows: number;
  /** V and E. */
  readonly tableRows: number;
  readonly columns: number;
  readonly dtype: FloatDType;
  /** Strides of row and column. */
  readonly gradient: Operand;
}

export function planEmbeddingGradient(problem: EmbeddingGradientProblem, traits: Traits): Launch {
  const { op, rows, tableRows, columns, dtype, gradient } = problem;
  const quads = Math.ceil(columns / 4);
  const workgroup = traits.isSoftware ? 32 : 128;
  // many rows for each row of the table, or few columns, are worth more invocations per quad of columns
  const least = rows > tableRows ? 16 : 4;
  const lanes = Math.max(traits.isSoftware ? 1 : least, 2 ** Math.floor(Math.log2(Math.max(1, workgroup / quads))));
  const columnGroups = Math.ceil((quads * lanes) / workgroup);
  return {
    shader: gradientShader,
    constants: { WORKGROUP: workgroup, F16: dtype === 'float16' },
    params: {
      groups: rows * columnGroups,
      count: rows,
      table_rows: tableRows,
      columns,
      quads,
      column_groups: columnGroups,
      lanes,
      output_pitch: rowPitch(columns, dtype),
      gradient: operandFields(gradient),
    },
    workgroups: foldWorkgroups(op, rows * columnGroups, traits),
  };
}
