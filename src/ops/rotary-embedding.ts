import { ArgumentError } from '../gpu/errors.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkBoolean, checkFloat, checkIntegers, checkSameDevice, checkTensor, describe } from './internal/check.ts';
import { rotate } from './internal/rotate.ts';

/** The positions of the rows. Give at most one of the two. */
export interface RotaryPositions {
  /** Position of row 0, or one for each batch entry; default 0. */
  offset?: number | readonly number[];
  /** Position of every row: int32 or uint32 [B, N], where B may be 1. */
  positions?: Tensor;
}

export interface RotaryEmbeddingOptions extends RotaryPositions {
  /** Rotates columns 2i and 2i + 1 together, as llama2.c does; default i and i + R/2, as in GPT-NeoX and Hugging Face. */
  interleaved?: boolean;
}

/**
 * Rotary position embedding (Su et al. 2021): rotates pairs of the first R columns of each row by its position's angles.
 * The other columns pass through. Only the GPU sees `positions`. One that the tables do not have gives NaN in the rotated
 * columns.
 *
 * @param x [B, H, N, D] or [B, N, D]; float32 or float16; any strides
 * @param cos float32 [P, R/2] with R ≤ D; row p holds the cosines of position p's angles
 * @param sin float32 [P, R/2]; neither table has a gradient
 * @returns a tensor of x's shape and dtype. Row-major, with one exception: if x's heads lie inside its rows
 *   ([B, N, H, D] in memory), so do the output's
 * @throws ArgumentError for shapes, dtypes or options that do not fit, or an offset that leaves the tables
 */
export function rotaryEmbedding(
  x: Tensor,
  cos: Tensor,
  sin: Tensor,
  options: RotaryEmbeddingOptions = {},
): FloatTensor {
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
  return x.device.scope(() => rotate(op, x, { cos, sin, positions }, { offsets, interleaved }));
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
