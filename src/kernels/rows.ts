import { coalesce, type Shape } from '../tensor/shape.ts';

/** Axes before a row, the innermost first: twin of the parameters that parts/rows takes. */
export interface RowAxes {
  /** Of four axes; those that there are not have length 1. */
  readonly shape: readonly number[];
  /** For each operand, of the four axes and of the one before them. */
  readonly strides: readonly { readonly inner: readonly number[]; readonly outer: number }[];
}

/** At most five axes, as those of `coalesce`. */
export function rowAxes(shape: Shape, strides: readonly (readonly number[])[]): RowAxes {
  const innermostFirst = (values: readonly number[], fill: number) => [...values.toReversed(), fill, fill, fill, fill];
  return {
    shape: innermostFirst(shape, 1).slice(0, 4),
    strides: strides.map((values) => ({
      inner: innermostFirst(values, 0).slice(0, 4),
      outer: values.at(-5) ?? 0,
    })),
  };
}

/**
 * As few and as long axes as the output and all other operands allow, the last of which is a row of neighbours in the
 * output. Strides are the output's first, then those of the others.
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
