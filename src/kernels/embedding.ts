import shader from '../../shaders/embedding/embedding.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { rowPitch } from '../tensor/shape.ts';
import { foldWorkgroups, readsQuads, type Limits, type Operand } from './launch.ts';

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
      weight_strides: weight.strides,
      weight_offset: weight.offset,
      ids_offset: problem.idsOffset,
      output_pitch: rowPitch(columns, dtype),
      vector_loads: readsQuads(weight, 1) ? 1 : 0,
    },
    workgroups: foldWorkgroups(op, Math.ceil(quads / WORKGROUP), limits),
  };
}
