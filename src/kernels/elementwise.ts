import source from '../../shaders/elementwise.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { joinParts } from '../gpu/shader.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { contiguousStrides, type Shape } from '../tensor/shape.ts';
import { foldWorkgroups, readsQuads, type Limits, type Operand } from './launch.ts';
import { PARTS } from './parts.ts';
import { mergeAxes, rowAxes } from './rows.ts';

const shader = joinParts('elementwise', source, PARTS);

/** Twin of OP in elementwise.wgsl. */
const OPERATIONS = { gelu: 0, geluTanh: 1, silu: 2, relu: 3, add: 4, multiply: 5, swiglu: 6 } as const;

export type Operation = keyof typeof OPERATIONS;

export interface ElementwiseProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly operation: Operation;
  /** Of the output, which is row-major. */
  readonly shape: Shape;
  readonly dtype: FloatDType;
  /** Strides of the output's axes, 0 where broadcast. */
  readonly x: Operand;
  readonly y?: Operand;
}

const WORKGROUP = 256;

export function planElementwise(problem: ElementwiseProblem, limits: Limits): Launch {
  const { op, operation, shape, dtype, x, y = { strides: shape.map(() => 0), offset: 0 } } = problem;
  const { shape: lengths, strides } = mergeAxes(shape, contiguousStrides(shape, dtype), [x.strides, y.strides]);
  const [outputStrides, xStrides, yStrides] = strides;
  const columns = lengths.at(-1)!;
  const outer = rowAxes(
    lengths.slice(0, -1),
    [xStrides, yStrides].map((all) => all.slice(0, -1)),
  );
  const rowQuads = Math.ceil(columns / 4);
  const rows = lengths.slice(0, -1).reduce((product, length) => product * length, 1);
  const vectors = (operand: Operand) => (readsQuads(operand, lengths.length - 1) ? 1 : 0);
  return {
    shader,
    constants: { OP: OPERATIONS[operation], F16: dtype === 'float16' },
    params: {
      quads: rows * rowQuads,
      row_quads: rowQuads,
      columns,
      shape: outer.shape,
      x_strides: outer.strides[0].inner,
      y_strides: outer.strides[1].inner,
      x_outer_stride: outer.strides[0].outer,
      y_outer_stride: outer.strides[1].outer,
      x_column_stride: xStrides.at(-1)!,
      y_column_stride: yStrides.at(-1)!,
      x_offset: x.offset,
      y_offset: y.offset,
      output_pitch: outputStrides.at(-2) ?? 0,
      x_vector_loads: vectors({ strides: xStrides, offset: x.offset }),
      y_vector_loads: vectors({ strides: yStrides, offset: y.offset }),
    },
    workgroups: foldWorkgroups(op, Math.ceil((rows * rowQuads) / WORKGROUP), limits),
  };
}
