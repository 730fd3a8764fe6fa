/** What `device.tune()` takes and gives. The tuner itself lies above the ops that it measures, and is handed down. */
import type { Device } from './device.ts';
import type { FloatDType } from './dtype.ts';

/** Ops that have several kernels. */
export type TunableOp = 'flashAttention' | 'localAttention' | 'matmul';

export interface TuneOptions {
  /** Default all. */
  ops?: readonly TunableOp[];
  /** Default both. */
  dtypes?: readonly FloatDType[];
  /**
   * Head dims of the attention ops, 1 to 256; one stands for all that share its kernels (up to 32, 64, 128, 256). Default all
   * four, on a CPU driver 64 alone.
   */
  headDims?: readonly number[];
  /** Measure again what was measured on this device before. Default false. */
  remeasure?: boolean;
  /** Milliseconds after which no further kernel is tried; the fastest of those tried by then is taken. Default 60,000. */
  timeBudget?: number;
  /** Told before each kernel is tried. */
  onProgress?: (progress: TuneProgress) => void;
}

export interface TuneProgress {
  /** Choices made so far, of `total`. */
  readonly done: number;
  readonly total: number;
  readonly op: TunableOp;
  readonly dtype: FloatDType;
  readonly sizeClass: string | number;
  readonly kernel: string;
}

export interface TuneResult {
  readonly choices: readonly TunedChoice[];
  /** Where what was measured is kept for later devices. */
  readonly keptIn?: string;
  /** Why it serves this device only. */
  readonly notKept?: string;
}

/** The kernel of an op for a class of problems. */
export interface TunedChoice {
  readonly op: TunableOp;
  readonly dtype: FloatDType;
  /** Attention's largest head dim; matmul's `narrow`, `few` or `many` blocks of 64 × 64. */
  readonly sizeClass: string | number;
  readonly kernel: string;
  /** Day of the measurement; undefined where there was none, and the default stays. */
  readonly date?: string;
  /** What this call tried, the default kernel first; empty where the choice was remembered. */
  readonly candidates: readonly TunedCandidate[];
  /** Time of the default kernel over that of the chosen one, where this call measured both. */
  readonly speedup?: number;
}

export interface TunedCandidate {
  readonly kernel: string;
  /** Median time of a run. */
  readonly milliseconds?: number;
  /** Why it was not measured, or not to the end. */
  readonly note?: string;
}

/** What `Device` holds of the tuner. */
export type Tuner = (device: Device, options: TuneOptions) => Promise<TuneResult>;
