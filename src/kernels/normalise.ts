import shader from '../../shaders/normalise/normalise.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { coalesce, contiguousStrides, type Shape } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, readsQuads, type Operand } from './launch.ts';
import { chooseRowLanes, mergeAxes, rowAxes, rowsPerWorkgroup } from './rows.ts';

export interface NormaliseProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** Of x and of the output, which is row-major. */
  readonly shape: Shape;
  /** How many of the last axes are normalised together. */
  readonly axes: number;
  readonly dtype: FloatDType;
  readonly x: Operand;
  /** Of the normalised axes. */
  readonly weight?: Operand;
  readonly bias?: Operand;
  readonly epsilon: number;
  /** The mean is subtracted. */
  readonly isCentred: boolean;
}

/** Normalised axes that x, the output, weight and bias walk evenly, merged. */
function innerAxes({ shape, axes, dtype, x, weight, bias }: NormaliseProblem) {
  const first = shape.length - axes;
  const none = Array.from({ length: axes }, () => 0);
  return mergeAxes(shape.slice(first), contiguousStrides(shape, dtype).slice(first), [
    x.strides.slice(first),
    weight?.strides ?? none,
    bias?.strides ?? none,
  ]);
}

/** Whether the operands are such as the kernel can read: the normalised axes merge into at most two. */
export function canNormalise(problem: NormaliseProblem): boolean {
  return innerAxes(problem).shape.length <= 2;
}

export function planNormalise(problem: NormaliseProblem, traits: Traits): Launch {
  const { op, shape, axes, dtype, x, weight, bias, epsilon, isCentred } = problem;
  const inner = innerAxes(problem);
  const [segments, columns] = lastTwo(inner.shape, 1);
  const [outputInner, xInner, weightInner, biasInner] = inner.strides.map((strides) => lastTwo(strides, 0));
  const outerShape = shape.slice(0, -axes);
  const rows = outerShape.reduce((product, length) => product * length, 1);
  const merged = coalesce(outerShape, [x.strides.slice(0, -axes)]);
  const outer = rowAxes(merged.shape, merged.strides);
  const size = segments * columns;
  const groups = Math.ceil(rows / rowsPerWorkgroup(size, traits));
  const vectors = (strides: readonly number[], offset: number) => (readsQuads({ strides, offset }, 1) ? 1 : 0);
  const xOuter = outer.strides[0];
  return {
    shader,
    constants: { LANES: chooseRowLanes(size, traits), CENTRED: isCentred, F16: dtype === 'float16' },
    params: {
      groups,
      rows,
      segments,
      columns,
      epsilon,
      shape: outer.shape,
      x_strides: xOuter.inner,
      x_outer_stride: xOuter.outer,
      x_inner_strides: xInner,
      weight_strides: weightInner,
      bias_strides: biasInner,
      x_offset: x.offset,
      weight_offset: weight?.offset ?? 0,
      bias_offset: bias?.offset ?? 0,
      output_row_pitch: axes < shape.length ? contiguousStrides(shape, dtype)[shape.length - axes - 1] : 0,
      output_pitch: outputInner[0],
      has_weight: weight ? 1 : 0,
      has_bias: bias ? 1 : 0,
      x_vector_loads: readsQuads(
        { strides: [...x.strides.slice(0, -axes), ...xInner], offset: x.offset },
        shape.length - axes + 1,
      )
        ? 1
        : 0,
      weight_vector_loads: vectors(weightInner, weight?.offset ?? 0),
      bias_vector_loads: vectors(biasInner, bias?.offset ?? 0),
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}

function lastTwo(values: readonly number[], fill: number): [number, number] {
  const [a, b] = [fill, fill, ...values].slice(-2) as [number, number];
  return [a, b];
}
