import { record, records } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { planRotaryEmbedding, type RotaryEmbeddingProblem } from '../kernels/rotary-embedding.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import {
  checkBoolean,
  checkFloat,
  checkIntegers,
  checkSameDevice,
  checkTensor,
  describe,
  type FloatTensor,
} from './internal/check.ts';
import { enqueue, operandOf } from './internal/enqueue.ts';

/** Where the rows stand: at most one of the two. */
export interface RotaryPositions {
  /** Position of row 0, or one for each batch entry; default 0. */
  offset?: number | readonly number[];
  /** Position of every row: int32 or uint32 [B, N], of which B may be 1. */
  positions?: Tensor;
}

export interface RotaryEmbeddingOptions extends RotaryPositions {
  /** Turns columns 2i and 2i + 1 together, as llama2.c; default i and i + R/2, as GPT-NeoX and Hugging Face. */
  interleaved?: boolean;
}

/**
 * Rotary position embedding (Su et al. 2021): turns pairs of the first R columns of each row by its position's angles;
 * the others pass through. A position in `positions` that the tables do not have, which only the GPU sees, gives NaN in
 * the columns that are turned.
 *
 * @param x [B, H, N, D] or [B, N, D]; float32 or float16; any strides
 * @param cos float32 [P, R/2] with R ≤ D; row p holds the cosines of position p's angles
 * @param sin float32 [P, R/2]; neither table has a gradient
 * @returns a tensor of x's shape and dtype. Row-major, but where x's heads lie inside its rows ([B, N, H, D] in memory)
 *   so do the output's
 * @throws ArgumentError for shapes, dtypes or options that do not fit, or an offset that leaves the tables
 */
export function rotaryEmbedding(x: Tensor, cos: Tensor, sin: Tensor, options: RotaryEmbeddingOptions = {}): Tensor {
  const op = 'rotaryEmbedding';
  checkOptions(op, options, ['offset', 'positions', 'interleaved']);
  const { offset, positions, interleaved = false } = options;
  checkFloat(op, 'x', x);
  if (x.rank !== 3 && x.rank !== 4) {
    throw new ArgumentError(
      `${op}: x must be [batch, heads, length, dim] or [batch, length, dim], got ${formatShape(x.shape)}`,
    );
  }
  const [batch, length, dim] = [x.shape[0], x.shape.at(-2)!, x.shape.at(-1)!];
  checkTable(op, 'cos', cos, x);
  checkTable(op, 'sin', sin, x);
  const [tableRows, pairs] = cos.shape;
  if (2 * pairs > dim) {
    throw new ArgumentError(`${op}: cos must have at most half of x's ${dim} columns, got ${formatShape(cos.shape)}`);
  }
  if (formatShape(sin.shape) !== formatShape(cos.shape)) {
    throw new ArgumentError(
      `${op}: sin must have cos's shape ${formatShape(cos.shape)}, got ${formatShape(sin.shape)}`,
    );
  }
  checkBoolean(op, 'interleaved', interleaved);
  if (positions !== undefined && offset !== undefined) {
    throw new ArgumentError(`${op}: offset must not be given together with positions, got ${describe(offset)}`);
  }
  if (positions !== undefined) checkPositions(op, positions, x, batch, length);
  else if (length > tableRows) {
    throw new ArgumentError(`${op}: cos must have a row for each of x's ${length} rows, got ${formatShape(cos.shape)}`);
  }
  const offsets = positions ? [] : checkOffset(op, offset ?? 0, batch, tableRows - length);
  const output = turn(op, x, { cos, sin, positions }, { offsets, interleaved, isInverse: false });
  record({
    op,
    inputs: { x, cos, sin },
    outputs: [output],
    saved: { cos, sin, positions },
    ...(records(cos, sin) && {
      refusal: `${op}: cos and sin must not require a gradient, got one that does: detach it`,
    }),
    backward: ([gradient], saved) => ({
      x: turn(op, gradient as FloatTensor, saved, { offsets, interleaved, isInverse: true }),
    }),
  });
  return output;
}

interface Tables {
  readonly cos: Tensor;
  readonly sin: Tensor;
  readonly positions?: Tensor;
}

interface Turn {
  /** Of each batch entry's row 0, or one for all. */
  readonly offsets: readonly number[];
  readonly interleaved: boolean;
  readonly isInverse: boolean;
}

function turn(op: string, x: FloatTensor, { cos, sin, positions }: Tables, how: Turn): Tensor {
  const { device, dtype, shape } = x;
  const [batch, heads, length, dim] = shape.length === 3 ? [shape[0], 1, shape[1], shape[2]] : shape;
  const [tableRows, pairs] = cos.shape;
  const headsInRows = x.rank === 4 && heads > 1 && length > 1 && x.strides[1] < x.strides[2];
  return device.scope(() => {
    const output = device.empty(shape, dtype, op, headsInRows ? [0, 2, 1, 3] : undefined);
    const places = placeRows(device, how.offsets, positions);
    const problem: RotaryEmbeddingProblem = {
      op,
      shape: [batch, heads, length, dim],
      rotaryDim: 2 * pairs,
      tableRows,
      dtype,
      x: fourAxes(x),
      output: fourAxes(output),
      cos: operandOf(cos),
      sin: operandOf(sin),
      offset: places.offset,
      positions: places.operand,
      interleaved: how.interleaved,
      isInverse: how.isInverse,
    };
    const launch = planRotaryEmbedding(problem, device.traits);
    enqueue(op, launch, { x, cos_table: cos, sin_table: sin, positions: places.tensor, output });
    return output;
  });
}

function checkTable(op: string, name: string, table: Tensor, x: Tensor): void {
  checkTensor(op, name, table);
  if (table.dtype !== 'float32') throw new ArgumentError(`${op}: ${name} must be float32, got ${table.dtype}`);
  if (table.rank !== 2) {
    throw new ArgumentError(`${op}: ${name} must be [positions, rotary dim / 2], got ${formatShape(table.shape)}`);
  }
  checkSameDevice(op, 'x', x, name, table);
}

function checkPositions(op: string, positions: Tensor, x: Tensor, batch: number, length: number): void {
  checkIntegers(op, 'positions', positions);
  checkSameDevice(op, 'x', x, 'positions', positions);
  const [rows, columns] = positions.shape;
  if (positions.rank !== 2 || (rows !== batch && rows !== 1) || columns !== length) {
    throw new ArgumentError(`${op}: positions must be [${batch}, ${length}], got ${formatShape(positions.shape)}`);
  }
}

/** The position of each batch entry's row 0, which is at most `last`. */
function checkOffset(op: string, offset: number | readonly number[], batch: number, last: number): readonly number[] {
  const offsets = Array.isArray(offset) ? [...(offset as readonly number[])] : [offset as number];
  if (Array.isArray(offset) && offsets.length !== batch) {
    throw new ArgumentError(`${op}: offset must be one for each of ${batch} batch entries, got ${describe(offset)}`);
  }
  for (const one of offsets) {
    if (Number.isInteger(one) && one >= 0 && one <= last) continue;
    throw new ArgumentError(`${op}: offset must be from 0 to ${last}, where the tables end, got ${describe(one)}`);
  }
  return offsets;
}

/** One offset is a number; more, or all positions, are read from a tensor. */
function placeRows(
  device: Device,
  offsets: readonly number[],
  positions?: Tensor,
): { offset: number; operand?: RotaryEmbeddingProblem['positions']; tensor?: Tensor } {
  if (positions) return { offset: 0, operand: { ...operandOf(positions), all: true }, tensor: positions };
  if (offsets.every((offset) => offset === offsets[0])) return { offset: offsets[0] };
  const tensor = device.words(offsets, 'rotaryEmbedding');
  return { offset: 0, operand: { strides: [1, 0], offset: 0, all: false }, tensor };
}

/** Strides of batch, head, row, column of a 3-D or 4-D tensor. */
function fourAxes(tensor: Tensor) {
  const { strides, offset } = operandOf(tensor);
  return { strides: strides.length === 3 ? [strides[0], 0, strides[1], strides[2]] : strides, offset };
}
