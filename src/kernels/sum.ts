import source from '../../shaders/sum.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { joinParts } from '../gpu/shader.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { coalesce, rowPitch, sizeOf, type Shape } from '../tensor/shape.ts';
import { foldWorkgroups, type Limits, type Operand } from './launch.ts';
import { PARTS } from './parts.ts';
import { rowAxes } from './rows.ts';

const shader = joinParts('sum', source, PARTS);

export interface SumProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly shape: Shape;
  readonly dtype: FloatDType;
  readonly x: Operand;
  /** Which axes go. */
  readonly axes: ReadonlySet<number>;
  /** Multiplies the sums. */
  readonly scale: number;
}

const WORKGROUP = 64;

export function planSum({ op, shape, dtype, x, axes, scale }: SumProblem, limits: Limits): Launch {
  const pick = (wanted: boolean) => {
    const chosen = shape.map((_, axis) => axis).filter((axis) => axes.has(axis) === wanted);
    const merged = coalesce(
      chosen.map((axis) => shape[axis]),
      [chosen.map((axis) => x.strides[axis])],
    );
    return { size: sizeOf(chosen.map((axis) => shape[axis])), ...rowAxes(merged.shape, merged.strides) };
  };
  const [kept, summed] = [pick(false), pick(true)];
  const columns = shape.findLast((_, axis) => !axes.has(axis)) ?? 1;
  const rowWords = dtype === 'float16' ? rowPitch(columns, dtype) / 2 : columns;
  const words = (kept.size / columns) * rowWords;
  return {
    shader,
    constants: { F16: dtype === 'float16' },
    params: {
      words,
      row_words: rowWords,
      columns,
      terms: summed.size,
      scale,
      kept_shape: kept.shape,
      kept_strides: kept.strides[0].inner,
      kept_outer_stride: kept.strides[0].outer,
      x_offset: x.offset,
      summed_shape: summed.shape,
      summed_strides: summed.strides[0].inner,
      summed_outer_stride: summed.strides[0].outer,
    },
    workgroups: foldWorkgroups(op, Math.ceil(words / WORKGROUP), limits),
  };
}
