import type { Tensor } from '../src/index.ts';

/** A case that is ready to run: its tensors are on the device. */
export interface Workload {
  /** One call of the op, or one pass forward and back; the caller disposes of the outputs. */
  run(): readonly Tensor[];
  /** A row of an output, in row-major order, in float64. */
  expected(row: number, output: number): Expected;
  /** The rows of an output to compare; by default some from the first to the last. */
  sampled?(rows: number, output: number): readonly number[] | undefined;
  dispose(): void;
}

export interface Expected {
  readonly row: Float64Array;
  /** The size of the row's terms together, if they may cancel: rounding errors are in proportion to it. Default: the row's. */
  readonly size?: number;
}
