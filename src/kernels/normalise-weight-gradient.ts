import shader from '../../shaders/normalise/weight-gradient.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups } from './launch.ts';
import { readsRowQuads, rowLayout } from './normalise-gradient.ts';

export interface NormaliseWeightGradientProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** Of x and of the output's gradient, both of them row-major. */
  readonly shape: Shape;
  /** How many of the last axes are normalised together. */
  readonly axes: number;
  readonly dtype: FloatDType;
  readonly xOffset: number;
  readonly dOutputOffset: number;
  readonly writesDWeight: boolean;
  readonly writesDBias: boolean;
}

const COLUMN_LANES = 16;
const ROW_LANES = 8;
/** Rows that an invocation adds up at the least. */
const LEAST_TERMS = 4;
const MOST_CHUNKS = 128;

/** Into how many chunks of how many rows the sums are divided: as many as give each of a device's processors some. */
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
    shader,
    constants: { F16: dtype === 'float16' },
    params: {
      groups,
      ...layout,
      chunk_rows: size,
      column_groups: columnGroups,
      x_offset: xOffset,
      d_output_offset: dOutputOffset,
      vector_loads: readsRowQuads(layout, [xOffset, dOutputOffset]) ? 1 : 0,
      writes_d_weight: problem.writesDWeight ? 1 : 0,
      writes_d_bias: problem.writesDBias ? 1 : 0,
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
  return { launch, chunks };
}
