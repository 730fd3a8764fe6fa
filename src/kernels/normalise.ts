/** Layer and root-mean-square normalisation and their gradients: the kernels of shaders/normalise. */
import gradientShader from '../../shaders/normalise/gradient.wgsl';
import shader from '../../shaders/normalise/normalise.wgsl';
import weightGradientShader from '../../shaders/normalise/weight-gradient.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { coalesce, contiguousStrides, sizeOf, type Shape } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, operandFields, readsQuads, readsVectors, type Operand } from './launch.ts';
import { chooseHeldVectors, chooseRowLanes, mergeAxes, rowAxes, rowsPerWorkgroup, vectorWidth } from './rows.ts';

export interface NormaliseProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** Shape of x and of the row-major output. */
  readonly shape: Shape;
  /** How many of the last axes are normalised together. */
  readonly axes: number;
  readonly dtype: FloatDType;
  readonly x: Operand;
  /** Lies along the normalised axes, as does the bias. */
  readonly weight?: Operand;
  readonly bias?: Operand;
  readonly epsilon: number;
  /** The mean is subtracted. */
  readonly isCentred: boolean;
}

/** The normalised axes, merged where they act as one in x, the output, weight and bias. */
function innerAxes({ shape, axes, dtype, x, weight, bias }: NormaliseProblem) {
  const first = shape.length - axes;
  const none = Array.from({ length: axes }, () => 0);
  return mergeAxes(shape.slice(first), contiguousStrides(shape, dtype).slice(first), [
    x.strides.slice(first),
    weight?.strides ?? none,
    bias?.strides ?? none,
  ]);
}

/** Whether the kernel can read the operands: the normalised axes merge into at most two. */
export function canNormalise(problem: NormaliseProblem): boolean {
  return innerAxes(problem).shape.length <= 2;
}

export function planNormalise(problem: NormaliseProblem, traits: Traits): Launch {
  const { op, shape, axes, dtype, x, weight, bias, epsilon, isCentred } = problem;
  const inner = innerAxes(problem);
  const [segments, columns] = lastTwo(inner.shape, 1);
  const [outputInner, xInner, weightInner, biasInner] = inner.strides.map((strides) => lastTwo(strides, 0));
  const outerShape = shape.slice(0, -axes);
  const rows = sizeOf(outerShape);
  const outer = coalesce(outerShape, [x.strides.slice(0, -axes)]);
  const size = segments * columns;
  const groups = Math.ceil(rows / rowsPerWorkgroup(size, traits));
  const isVectors = readsQuads({ strides: [...outer.strides[0], ...xInner], offset: x.offset }, outer.shape.length + 1);
  const width = vectorWidth(dtype);
  const isWhole = (strides: readonly number[], offset: number) =>
    readsVectors({ strides, offset }, strides.length - 1, width);
  const holdsVectors =
    segments === 1 &&
    columns % width === 0 &&
    isWhole([...outer.strides[0], xInner[1]], x.offset) &&
    (!weight || isWhole(weightInner.slice(1), weight.offset)) &&
    (!bias || isWhole(biasInner.slice(1), bias.offset));
  return {
    shader,
    constants: {
      LANES: chooseRowLanes(size, traits),
      CENTRED: isCentred,
      F16: dtype === 'float16',
      HELD: chooseHeldVectors(dtype, traits),
    },
    params: {
      groups,
      epsilon,
      has_weight: weight ? 1 : 0,
      has_bias: bias ? 1 : 0,
      holds_vectors: holdsVectors ? 1 : 0,
      shape: {
        rows,
        segments,
        columns,
        row_pitch: axes < shape.length ? contiguousStrides(shape, dtype)[shape.length - axes - 1] : 0,
        pitch: outputInner[0],
      },
      x_rows: rowAxes(outer.shape, outer.strides[0]),
      x: { strides: xInner, offset: x.offset, vectors: isVectors ? 1 : 0 },
      weight: operandFields({ strides: weightInner, offset: weight?.offset ?? 0 }),
      bias: operandFields({ strides: biasInner, offset: bias?.offset ?? 0 }),
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}

function lastTwo(values: readonly number[], fill: number): [number, number] {
  const [a, b] = [fill, fill, ...values].slice(-2) as [number, number];
  return [a, b];
}

export interface NormaliseGradientProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** Shape of x, of the gradient of the output and of that of x; all are row-major. */
  readonly shape: Shape;
  /** How many of the last axes are normalised together. */
  readonly axes: number;
  readonly dtype: FloatDType;
  readonly xOffset: number;
  readonly dOutputOffset: number;
  /** Element at which the row-major weight begins; absent if there is none. */
  readonly weightOffset?: number;
  readonly epsilon: number;
  /** The mean is subtracted. */
  readonly isCentred: boolean;
  readonly writesDX: boolean;
  readonly writesStatistics: boolean;
}

/** Twin of the uniform struct `SegmentedRows`, of a row-major tensor; of odd float16 axes each row is several segments. */
function rowLayout({ shape, axes, dtype }: { shape: Shape; axes: number; dtype: FloatDType }) {
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
function readsRowQuads(layout: ReturnType<typeof rowLayout>, offsets: readonly number[]): boolean {
  return [layout.row_pitch, layout.pitch, ...offsets].every((elements) => elements % 4 === 0);
}

export function planNormaliseGradient(problem: NormaliseGradientProblem, traits: Traits): Launch {
  const { op, dtype, xOffset, dOutputOffset, weightOffset, epsilon, isCentred } = problem;
  const layout = rowLayout(problem);
  const size = layout.segments * layout.columns;
  const groups = Math.ceil(layout.rows / rowsPerWorkgroup(size, traits));
  const width = vectorWidth(dtype);
  const holdsVectors =
    layout.segments === 1 &&
    [layout.columns, layout.row_pitch, xOffset, dOutputOffset, weightOffset ?? 0].every(
      (elements) => elements % width === 0,
    );
  return {
    shader: gradientShader,
    constants: {
      LANES: chooseRowLanes(size, traits),
      CENTRED: isCentred,
      F16: dtype === 'float16',
      HELD: chooseHeldVectors(dtype, traits),
    },
    params: {
      groups,
      holds_vectors: holdsVectors ? 1 : 0,
      shape: layout,
      epsilon,
      x_offset: xOffset,
      d_output_offset: dOutputOffset,
      weight_offset: weightOffset ?? 0,
      has_weight: weightOffset === undefined ? 0 : 1,
      vectors: readsRowQuads(layout, [xOffset, dOutputOffset, weightOffset ?? 0]) ? 1 : 0,
      writes_d_x: problem.writesDX ? 1 : 0,
      writes_statistics: problem.writesStatistics ? 1 : 0,
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}

export interface NormaliseWeightGradientProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** Shape of x and of the gradient of the output; both are row-major. */
  readonly shape: Shape;
  /** How many of the last axes are normalised together. */
  readonly axes: number;
  readonly dtype: FloatDType;
  readonly xOffset: number;
  readonly dOutputOffset: number;
  readonly writesDWeight: boolean;
  readonly writesDBias: boolean;
}

/** Twins of the constants of weight-gradient.wgsl. */
const COLUMN_LANES = 16;
const ROW_LANES = 8;
/** An invocation adds up at least this many rows. */
const LEAST_TERMS = 4;
const MOST_CHUNKS = 128;

/** The number of chunks and their rows. There are enough chunks to give each of a device's processors some. */
export function chunkRows(
  rows: number,
  columnGroups: number,
  { isSoftware }: Traits,
): { chunks: number; size: number } {
  const wanted = Math.ceil((isSoftware ? 32 : 512) / columnGroups);
  const most = Math.min(MOST_CHUNKS, Math.ceil(rows / (ROW_LANES * LEAST_TERMS)));
  const size = Math.ceil(rows / Math.min(wanted, most));
  return { chunks: Math.ceil(rows / size), size };
}

/** The launch, and how many chunks' sums it writes. */
export function planNormaliseWeightGradient(
  problem: NormaliseWeightGradientProblem,
  traits: Traits,
): { launch: Launch; chunks: number } {
  const { op, dtype, xOffset, dOutputOffset } = problem;
  const layout = rowLayout(problem);
  const columnGroups = Math.ceil((layout.segments * Math.ceil(layout.columns / 4)) / COLUMN_LANES);
  const { chunks, size } = chunkRows(layout.rows, columnGroups, traits);
  const groups = chunks * columnGroups;
  const launch = {
    shader: weightGradientShader,
    constants: { F16: dtype === 'float16' },
    params: {
      groups,
      shape: layout,
      chunk_rows: size,
      column_groups: columnGroups,
      x_offset: xOffset,
      d_output_offset: dOutputOffset,
      vectors: readsRowQuads(layout, [xOffset, dOutputOffset]) ? 1 : 0,
      writes_d_weight: problem.writesDWeight ? 1 : 0,
      writes_d_bias: problem.writesDBias ? 1 : 0,
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
  return { launch, chunks };
}
