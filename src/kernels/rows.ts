import type { Launch } from '../gpu/runtime.ts';
import { BYTES, type FloatDType } from '../tensor/dtype.ts';
import { coalesce, contiguousStrides, sizeOf, type Shape } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, readsQuads, readsVectors, type Limits, type Operand } from './launch.ts';

/** The lengths of the axes before a row, at most five: the innermost four first, as parts/rows takes them. */
export function rowShape(shape: Shape): number[] {
  return innermostFirst(shape, 1);
}

/** Their strides, and that of the fifth. */
function rowStrides(strides: readonly number[]) {
  return { strides: innermostFirst(strides, 0), outer_stride: strides.at(-5) ?? 0 };
}

/** Twin of the uniform struct `RowAxes` (shaders/parts/rows.wgsl). */
export function rowAxes(shape: Shape, strides: readonly number[]) {
  return { shape: rowShape(shape), ...rowStrides(strides) };
}

function innermostFirst(values: readonly number[], fill: number): number[] {
  return [...values.toReversed(), fill, fill, fill, fill].slice(0, 4);
}

/** Twin of the uniform struct `RowOperand` (shaders/parts/rows.wgsl): the last axis is the row. */
export function rowOperand({ strides, offset }: Operand) {
  const column = strides.length - 1;
  return {
    ...rowStrides(strides.slice(0, -1)),
    column_stride: strides[column],
    offset,
    vectors: readsQuads({ strides, offset }, column) ? 1 : 0,
  };
}

/**
 * Merges axes into as few as the output and all other operands allow. The last is a row of neighbours in the output. Strides
 * are the output's first, then those of the others.
 */
export function mergeAxes(
  shape: Shape,
  output: readonly number[],
  others: readonly (readonly number[])[],
): { shape: readonly number[]; strides: readonly (readonly number[])[] } {
  const merged = coalesce(shape, [output, ...others]);
  if (merged.strides[0].at(-1) === 1) return merged;
  // rows of one element, padded to a word
  return { shape: [...merged.shape, 1], strides: merged.strides.map((strides) => [...strides, 0]) };
}

/**
 * Parameters and workgroups of kernels whose invocations each compute four columns of one row of the output: the layout of
 * the output's rows and, by name, a RowOperand for each operand, broadcast to its shape. An absent operand is never read.
 * With `mayBeWhole`, they compute a vector of 16 bytes each if all operands' rows are such vectors: `isWhole`.
 */
export function quadLaunch(
  problem: { readonly op: string; readonly shape: Shape; readonly dtype: FloatDType },
  operands: Readonly<Record<string, Operand | undefined>>,
  workgroup: number,
  limits: Limits,
  mayBeWhole = false,
): Pick<Launch, 'params' | 'workgroups'> & { readonly isWhole: boolean } {
  const { op, shape, dtype } = problem;
  const given = Object.values(operands).map((operand) => operand ?? { strides: shape.map(() => 0), offset: 0 });
  const merged = mergeAxes(
    shape,
    contiguousStrides(shape, dtype),
    given.map(({ strides }) => strides),
  );
  const [outputStrides, ...strides] = merged.strides;
  const columns = merged.shape.at(-1)!;
  const width = vectorWidth(dtype);
  const isWhole =
    mayBeWhole &&
    columns % width === 0 &&
    Object.values(operands).every(
      (operand, i) =>
        !operand || readsVectors({ strides: strides[i], offset: operand.offset }, strides[i].length - 1, width),
    );
  const rowQuads = Math.ceil(columns / (isWhole ? width : 4));
  const outerShape = merged.shape.slice(0, -1);
  const quads = sizeOf(outerShape) * rowQuads;
  const params = {
    quads,
    row_quads: rowQuads,
    columns,
    output_pitch: outputStrides.at(-2) ?? 0,
    shape: rowShape(outerShape),
    ...Object.fromEntries(
      Object.keys(operands).map((name, i) => [name, rowOperand({ strides: strides[i], offset: given[i].offset })]),
    ),
  };
  return { params, workgroups: foldWorkgroups(op, Math.ceil(quads / workgroup), limits), isWhole };
}

const ROW_WORKGROUP = 128;
/** On GPUs, rows up to this length share a workgroup, sixteen invocations each. */
const SHORT_ROW = 256;

/**
 * Invocations a row, if a workgroup of 128 sums over rows. A CPU driver pays for each level of the tree that combines
 * them. On a GPU neighbours should read neighbouring columns.
 */
export function chooseRowLanes(length: number, { isSoftware }: Traits): number {
  if (isSoftware) return 4;
  return length <= SHORT_ROW ? 16 : ROW_WORKGROUP;
}

/** Rows that share such a workgroup. */
export function rowsPerWorkgroup(length: number, traits: Traits): number {
  return ROW_WORKGROUP / chooseRowLanes(length, traits);
}

/** Elements of a vector of 16 bytes. */
export function vectorWidth(dtype: FloatDType): number {
  return 16 / BYTES[dtype];
}

/** Numbers of its row that an invocation keeps in registers between sweeps. */
const HELD_NUMBERS = 32;

/** Vectors that it keeps. CPU drivers have few registers, and a cache in which rows stay. */
export function chooseHeldVectors(dtype: FloatDType, { isSoftware }: Traits): number {
  return isSoftware ? 0 : HELD_NUMBERS / vectorWidth(dtype);
}
