/** A brute-force view of strided memory, sharing no code with src/tensor/shape.ts: the place of each element, in row-major order. */
export function addresses(shape: readonly number[], strides: readonly number[], offset = 0): number[] {
  let rows = [offset];
  for (const [axis, length] of shape.entries()) {
    rows = rows.flatMap((start) => Array.from({ length }, (_, i) => start + i * strides[axis]));
  }
  return rows;
}
