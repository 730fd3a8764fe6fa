import shader from '../../shaders/normalise/gradient.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { contiguousStrides, sizeOf, type Shape } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups } from './launch.ts';
import { chooseRowLanes, mergeAxes, rowsPerWorkgroup } from './rows.ts';

export interface NormaliseGradientProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** Of x, of the output's gradient and of x's, all of them row-major. */
  readonly shape: Shape;
  /** How many of the last axes are normalised together. */
  readonly axes: number;
  readonly dtype: FloatDType;
  readonly xOffset: number;
  readonly dOutputOffset: number;
  /** Of the row-major weight; absent where there is none. */
  readonly weightOffset?: number;
  readonly epsilon: number;
  /** The mean is subtracted. */
  readonly isCentred: boolean;
  readonly writesDX: boolean;
  readonly writesStatistics: boolean;
}

/** Rows of a row-major tensor; of odd float16 axes each is several segments. */
export function rowLayout({ shape, axes, dtype }: { shape: Shape; axes: number; dtype: FloatDType }) {
  const first = shape.length - axes;
  const strides = contiguousStrides(shape, dtype);
  const inner = mergeAxes(shape.slice(first), strides.slice(first), []);
  const isWhole = inner.shape.length < 2;
  return {
    rows: sizeOf(shape.slice(0, first)),
    segments: isWhole ? 1 : inner.shape[0],
    columns: inner.shape.at(-1)!,
    row_pitch: first > 0 ? strides[first - 1] : 0,
    pitch: isWhole ? 0 : inner.strides[0][0],
  };
}

/** Whether such rows, from these offsets on, may be read four columns at a time. */
export function readsRowQuads(layout: ReturnType<typeof rowLayout>, offsets: readonly number[]): boolean {
  return [layout.row_pitch, layout.pitch, ...offsets].every((elements) => elements % 4 === 0);
}

export function planNormaliseGradient(problem: NormaliseGradientProblem, traits: Traits): Launch {
  const { op, dtype, xOffset, dOutputOffset, weightOffset, epsilon, isCentred } = problem;
  const layout = rowLayout(problem);
  const size = layout.segments * layout.columns;
  const groups = Math.ceil(layout.rows / rowsPerWorkgroup(size, traits));
  return {
    shader,
    constants: { LANES: chooseRowLanes(size, traits), CENTRED: isCentred, F16: dtype === 'float16' },
    params: {
      groups,
      ...layout,
      epsilon,
      x_offset: xOffset,
      d_output_offset: dOutputOffset,
      weight_offset: weightOffset ?? 0,
      has_weight: weightOffset === undefined ? 0 : 1,
      vector_loads: readsRowQuads(layout, [xOffset, dOutputOffset, weightOffset ?? 0]) ? 1 : 0,
      writes_d_x: problem.writesDX ? 1 : 0,
      writes_statistics: problem.writesStatistics ? 1 : 0,
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}
