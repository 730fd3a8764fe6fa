import shader from '../../shaders/elementwise/rotary-embedding.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { foldWorkgroups, type Limits, type Operand } from './launch.ts';

export interface RotaryEmbeddingProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** [B, H, N, D]. */
  readonly shape: readonly [number, number, number, number];
  /** Columns that are turned, even. */
  readonly rotaryDim: number;
  /** Rows P of the tables. */
  readonly tableRows: number;
  readonly dtype: FloatDType;
  /** Strides of batch, head, row, column. */
  readonly x: Operand;
  /** Its columns are neighbours. */
  readonly output: Operand;
  /** Strides of position and pair. */
  readonly cos: Operand;
  readonly sin: Operand;
  /** Position of row 0. */
  readonly offset: number;
  /** Strides of batch and row; `all`: the positions themselves, else those of each entry's row 0. */
  readonly positions?: Operand & { readonly all: boolean };
  readonly interleaved: boolean;
  /** By the negative angles. */
  readonly isInverse: boolean;
}

const WORKGROUP = 256;

export function planRotaryEmbedding(problem: RotaryEmbeddingProblem, limits: Limits): Launch {
  const { op, shape, dtype, x, output, cos, sin, positions } = problem;
  const [batch, heads, length, columns] = shape;
  const rowQuads = Math.ceil(columns / 4);
  const quads = batch * heads * length * rowQuads;
  return {
    shader,
    constants: { F16: dtype === 'float16' },
    params: {
      quads,
      row_quads: rowQuads,
      columns,
      rotary: problem.rotaryDim,
      length,
      heads,
      table_rows: problem.tableRows,
      offset: problem.offset,
      row_step: positions?.all ? 0 : 1,
      has_positions: positions ? 1 : 0,
      interleaved: problem.interleaved ? 1 : 0,
      is_inverse: problem.isInverse ? 1 : 0,
      x_strides: x.strides,
      x_offset: x.offset,
      output_strides: output.strides,
      positions_strides: positions?.strides ?? [0, 0],
      positions_offset: positions?.offset ?? 0,
      cos_strides: cos.strides,
      sin_strides: sin.strides,
      cos_offset: cos.offset,
      sin_offset: sin.offset,
    },
    workgroups: foldWorkgroups(op, Math.ceil(quads / WORKGROUP), limits),
  };
}
