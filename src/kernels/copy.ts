import shader from '../../shaders/elementwise/copy.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { BYTES, type DType } from '../tensor/dtype.ts';
import { contiguousStrides, MAX_RANK, rowPitch, sizeOf, storageSize, type Shape } from '../tensor/shape.ts';
import { foldWorkgroups, type Limits, type Operand } from './launch.ts';

export interface CopyProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** Of x, or of x and y joined. */
  readonly shape: Shape;
  /** As many elements, in other rows perhaps. */
  readonly outputShape: Shape;
  readonly inDType: DType;
  readonly outDType: DType;
  readonly x: Operand;
  /** Where in the output's storage, in words of 32 bits. */
  readonly firstWord?: number;
  /** Of bools, write the logical not. */
  readonly invert?: boolean;
  /** Continues x along `axis` from position `split`. */
  readonly joined?: { readonly y: Operand; readonly axis: number; readonly split: number };
}

const WORKGROUP = 256;

/** Whether the words of x that are copied lie in the order in which they are written. */
function isFlat({ shape, outputShape, inDType, outDType, x, joined, invert }: CopyProblem): boolean {
  if (inDType !== outDType || joined || invert) return false;
  const rows = [shape, outputShape].map((lengths) => rowPitch(lengths.at(-1)!, outDType) === lengths.at(-1)!);
  const isSame = shape.at(-1) === outputShape.at(-1) || rows.every(Boolean);
  const dense = contiguousStrides(shape, inDType);
  const isDense = shape.every((length, axis) => length === 1 || x.strides[axis] === dense[axis]);
  return isSame && isDense && (x.offset * BYTES[inDType]) % 4 === 0;
}

/** Row-major copy of a view, with conversion between the float types. */
export function planCopy(problem: CopyProblem, limits: Limits): Launch {
  const { op, shape, outputShape, inDType, outDType, x, joined } = problem;
  const lead = MAX_RANK - shape.length;
  const padded = (values: readonly number[], fill: number) => [...Array.from({ length: lead }, () => fill), ...values];
  const lengths = padded(shape, 1);
  const xStrides = padded(x.strides, 0);
  const yStrides = padded(joined?.y.strides ?? shape.map(() => 0), 0);
  const perWord = 4 / BYTES[outDType];
  const outputRow = outputShape.at(-1)!;
  const words = Math.ceil(storageSize(outputShape, outDType) / perWord);
  return {
    shader,
    constants: {
      IN_BYTES: BYTES[inDType],
      OUT_BYTES: BYTES[outDType],
      INVERT: problem.invert ?? false,
      IS_FLAT: isFlat(problem),
    },
    params: {
      words,
      first_word: problem.firstWord ?? 0,
      size: sizeOf(shape),
      row_words: Math.ceil(rowPitch(outputRow, outDType) / perWord),
      output_row: outputRow,
      split: joined?.split ?? lengths[0],
      axis: joined ? joined.axis + lead : 0,
      x_offset: x.offset,
      y_offset: joined?.y.offset ?? 0,
      outer_shape: lengths.slice(0, 2),
      shape: lengths.slice(2),
      x_outer_strides: xStrides.slice(0, 2),
      x_strides: xStrides.slice(2),
      y_outer_strides: yStrides.slice(0, 2),
      y_strides: yStrides.slice(2),
    },
    workgroups: foldWorkgroups(op, Math.ceil(words / WORKGROUP), limits),
  };
}
