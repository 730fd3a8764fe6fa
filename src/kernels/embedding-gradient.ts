import shader from '../../shaders/embedding/gradient.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { rowPitch } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, readsQuads, type Operand } from './launch.ts';

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
  // many rows for each of the table's, or few columns, are worth more invocations a quad of columns
  const least = rows > tableRows ? 16 : 4;
  const lanes = Math.max(traits.isSoftware ? 1 : least, 2 ** Math.floor(Math.log2(Math.max(1, workgroup / quads))));
  const columnGroups = Math.ceil((quads * lanes) / workgroup);
  return {
    shader,
    constants: { WORKGROUP: workgroup, F16: dtype === 'float16' },
    params: {
      groups: rows * columnGroups,
      count: rows,
      table_rows: tableRows,
      columns,
      quads,
      column_groups: columnGroups,
      lanes,
      gradient_strides: gradient.strides,
      gradient_offset: gradient.offset,
      vector_loads: readsQuads(gradient, 1) ? 1 : 0,
      output_pitch: rowPitch(columns, dtype),
    },
    workgroups: foldWorkgroups(op, rows * columnGroups, traits),
  };
}
