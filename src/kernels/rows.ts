import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { coalesce, contiguousStrides, type Shape } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, readsQuads, type Limits, type Operand } from './launch.ts';

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

/**
 * Parameters and workgroups of kernels whose invocations compute four columns of one row of the output each: where the
 * output's rows lie and, by name, those of the operands that are broadcast to its shape. An absent operand is read nowhere.
 */
export function quadLaunch(
  problem: { readonly op: string; readonly shape: Shape; readonly dtype: FloatDType },
  operands: Readonly<Record<string, Operand | undefined>>,
  workgroup: number,
  limits: Limits,
): Pick<Launch, 'params' | 'workgroups'> {
  const { op, shape, dtype } = problem;
  const given = Object.values(operands).map((operand) => operand ?? { strides: shape.map(() => 0), offset: 0 });
  const merged = mergeAxes(
    shape,
    contiguousStrides(shape, dtype),
    given.map(({ strides }) => strides),
  );
  const [outputStrides, ...strides] = merged.strides;
  const columns = merged.shape.at(-1)!;
  const rowShape = merged.shape.slice(0, -1);
  const outer = rowAxes(
    rowShape,
    strides.map((all) => all.slice(0, -1)),
  );
  const rowQuads = Math.ceil(columns / 4);
  const quads = rowShape.reduce((product, length) => product * length, 1) * rowQuads;
  const params: Record<string, number | readonly number[]> = {
    quads,
    row_quads: rowQuads,
    columns,
    shape: outer.shape,
    output_pitch: outputStrides.at(-2) ?? 0,
  };
  for (const [i, name] of Object.keys(operands).entries()) {
    const { offset } = given[i];
    params[`${name}_strides`] = outer.strides[i].inner;
    params[`${name}_outer_stride`] = outer.strides[i].outer;
    params[`${name}_column_stride`] = strides[i].at(-1)!;
    params[`${name}_offset`] = offset;
    params[`${name}_vector_loads`] = readsQuads({ strides: strides[i], offset }, strides[i].length - 1) ? 1 : 0;
  }
  return { params, workgroups: foldWorkgroups(op, Math.ceil(quads / workgroup), limits) };
}

const ROW_WORKGROUP = 128;
/** On GPUs, rows up to this length share a workgroup, sixteen invocations each. */
const SHORT_ROW = 256;

/**
 * Invocations a row, where a workgroup of 128 sums over rows. A CPU driver pays for each level of the tree that combines
 * them; a GPU wants neighbours to read neighbouring columns.
 */
export function chooseRowLanes(length: number, { isSoftware }: Traits): number {
  if (isSoftware) return 4;
  return length <= SHORT_ROW ? 16 : ROW_WORKGROUP;
}

/** Rows that share such a workgroup. */
export function rowsPerWorkgroup(length: number, traits: Traits): number {
  return ROW_WORKGROUP / chooseRowLanes(length, traits);
}
