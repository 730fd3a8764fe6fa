import type { Tensor } from '../src/index.ts';

/** A case made real: its tensors on the device, the call that is timed, and what it should give. */
export interface Workload {
  /** One call of the op, or one pass forward and back; the caller disposes of the outputs. */
  run(): readonly Tensor[];
  /** A row of an output, in row-major order, in float64. */
  expected(row: number, output: number): Expected;
  /** Which rows of an output to compare, of so many; by default some from the first to the last. */
  sampled?(rows: number, output: number): readonly number[] | undefined;
  dispose(): void;
}

export interface Expected {
  readonly row: Float64Array;
  /** How large its terms are together, where they may cancel; rounding errors are in proportion. Default: as the row. */
  readonly size?: number;
}
