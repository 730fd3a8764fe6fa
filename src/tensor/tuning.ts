/** What `device.tune()` takes and returns. The tuner itself is above the ops that it measures, and is passed in. */
import type { Signal } from '../gpu/global-types.ts';
import type { FloatDType } from './dtype.ts';

/** Ops that have several kernels. `attentionGradient` is the backward pass of flash and local attention. */
export type TunableOp = 'flashAttention' | 'localAttention' | 'attentionGradient' | 'matmul';

export interface TuneOptions {
  /** Default all, except `attentionGradient` on a CPU driver: its kernels may take half a minute to compile there. */
  ops?: readonly TunableOp[];
  /** Default both. */
  dtypes?: readonly FloatDType[];
  /**
   * Head dims of the attention ops, 1 to 256. Each stands for all that share its kernels (up to 32, 64, 128, 256). Default all
   * four, on a CPU driver only 64.
   */
  headDims?: readonly number[];
  /** Measure again what was measured on this device before. Default false. */
  remeasure?: boolean;
  /** Milliseconds after which no further kernel is tried. The fastest so far is then taken. Default 60,000. */
  timeBudget?: number;
  /** Ends the measurements after the present run: the call rejects with the signal's reason. Choices made so far stay. */
  signal?: Signal;
  /** Called before each kernel is tried. */
  onProgress?: (progress: TuneProgress) => void;
}

export interface TuneProgress {
  /** Number of choices made so far, out of `total`. */
  readonly done: number;
  readonly total: number;
  readonly op: TunableOp;
  readonly dtype: FloatDType;
  readonly sizeClass: string | number;
  readonly kernel: string;
}

export interface TuneResult {
  readonly choices: readonly TunedChoice[];
  /** Where the results are saved for later devices. */
  readonly keptIn?: string;
  /** Why the results were not saved, so that only this device uses them. */
  readonly notKept?: string;
}

/** The kernel of an op for a class of problems. */
export interface TunedChoice {
  readonly op: TunableOp;
  readonly dtype: FloatDType;
  /**
   * Attention's largest head dim, as `few-64` if at most eight rows share their keys; matmul's `narrow`, `few` or `many` blocks of
   * 64 × 64.
   */
  readonly sizeClass: string | number;
  readonly kernel: string;
  /** Day of the measurement; undefined if there was none, so that the default stays. */
  readonly date?: string;
  /** The kernels that this call tried, the default first; empty if the choice was remembered. */
  readonly candidates: readonly TunedCandidate[];
  /** Time of the default kernel over that of the chosen one, if this call measured both. */
  readonly speedup?: number;
}

export interface TunedCandidate {
  readonly kernel: string;
  /** Median time of a run. */
  readonly milliseconds?: number;
  /** Why the measurement was skipped or not finished. */
  readonly note?: string;
}
