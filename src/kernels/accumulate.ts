import shader from '../../shaders/elementwise/accumulate.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';
import { foldWorkgroups, readsQuads, type Limits, type Operand } from './launch.ts';
import { mergeAxes, rowAxes } from './rows.ts';

export interface AccumulateProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly shape: Shape;
  readonly dtype: FloatDType;
  /** Contiguous, or a slice of what is. */
  readonly target: Operand;
  /** Strides 0 where broadcast. */
  readonly x: Operand;
}

const WORKGROUP = 256;

export function planAccumulate({ op, shape, dtype, target, x }: AccumulateProblem, limits: Limits): Launch {
  const { shape: lengths, strides } = mergeAxes(shape, target.strides, [x.strides]);
  const columns = lengths.at(-1)!;
  const outer = rowAxes(
    lengths.slice(0, -1),
    strides.map((all) => all.slice(0, -1)),
  );
  const lead = dtype === 'float16' ? target.offset % 2 : 0;
  const rowQuads = Math.ceil((lead + columns) / 4);
  const quads = lengths.slice(0, -1).reduce((product, length) => product * length, 1) * rowQuads;
  const readsVectors = lead === 0 && readsQuads({ strides: strides[1], offset: x.offset }, lengths.length - 1);
  return {
    shader,
    constants: { F16: dtype === 'float16' },
    params: {
      quads,
      row_quads: rowQuads,
      columns,
      lead,
      shape: outer.shape,
      target_strides: outer.strides[0].inner,
      x_strides: outer.strides[1].inner,
      target_outer_stride: outer.strides[0].outer,
      x_outer_stride: outer.strides[1].outer,
      x_column_stride: strides[1].at(-1)!,
      target_offset: target.offset,
      x_offset: x.offset,
      x_vector_loads: readsVectors ? 1 : 0,
    },
    workgroups: foldWorkgroups(op, Math.ceil(quads / WORKGROUP), limits),
  };
}
