/** What the page's workers do: the input, events on the way, and the result, as messages carry them. */
import type { BenchResult } from '../../bench/result.ts';

export interface Tasks {
  /** Measures the three attention ops over lengths. */
  compare: { input: { longest: number; isCausal: boolean }; event: CompareEvent; result: void };
  /** Runs benchmark cases. */
  measure: { input: { set: BenchSet }; event: { name: string; done: number; total: number }; result: BenchResult };
  /** Continues a prompt; events are pieces of text. */
  generate: { input: { prompt: string; temperature: number }; event: string; result: Generated };
  /** Trains a new model until it is stopped. */
  train: { input: { steps: number }; event: TrainEvent; result: void };
}

export type BenchSet = 'look' | 'standard' | 'everything';
export type ComparedOp = 'scaledDotProductAttention' | 'flashAttention' | 'localAttention';

export interface CompareEvent {
  readonly op: ComparedOp;
  readonly length: number;
  /** Why there are no figures. */
  readonly failure?: string;
  readonly figures?: {
    /** Milliseconds, the median; by the GPU's clock, or the host's where it has none. */
    readonly time: number;
    readonly isGpuTime: boolean;
    /** Bytes beyond inputs and output. */
    readonly memory: number;
    /** Largest difference from float64. */
    readonly error: number;
    readonly kernel: string;
    readonly reason: string;
  };
}

export interface Generated {
  readonly tokens: number;
  /** Milliseconds until the first token, and from then on. */
  readonly prefillTime: number;
  readonly decodeTime: number;
}

export type TrainEvent = { readonly step: number; readonly loss: number } | { readonly sample: string };

/** How a task talks to the page. */
export interface Line<Event> {
  readonly emit: (event: Event) => void;
  readonly signal: AbortSignal;
}

export type Request =
  | { readonly [N in keyof Tasks]: { readonly name: N; readonly input: Tasks[N]['input'] } }[keyof Tasks]
  | { readonly name: 'stop' };

export type Reply =
  | { readonly event: unknown }
  | { readonly result: unknown }
  | { readonly error: string; readonly isStopped: boolean };
