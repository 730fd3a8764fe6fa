/**
 * Watches the runtime for a while: what the host did and when, which kernels were submitted, and when the GPU ran each of
 * them. Every dispatch then has a pass of its own, because only passes can be timed.
 */
import type { Constants } from './shader.ts';
import { Stopwatch } from './stopwatch.ts';

/** A span of time on the host, in milliseconds since the profile began. */
export interface HostEvent {
  /** `work`: the profiled function; within it `record` and `submit`, and within `record` `compile`. `wait`: for the GPU. */
  readonly kind: 'work' | 'record' | 'compile' | 'submit' | 'wait';
  /** The op that recorded, the shader that was compiled. */
  readonly name: string;
  readonly start: number;
  readonly duration: number;
}

/** What is known of a dispatch when it is recorded. */
export interface DispatchFacts {
  /** The op. */
  readonly label: string;
  /** The shader. */
  readonly kernel: string;
  /** The shader's constants, which make a pipeline of it. */
  readonly constants: Constants;
  /** The pipeline's number. */
  readonly pipeline: number;
  readonly workgroups: readonly [number, number, number];
  /** How much of its call it is: 1, or less if a long launch was divided. */
  readonly share: number;
  /** Floating-point operations, if the plan counts them. */
  readonly operations?: number;
  /** Bytes of the tensors that the shader reads, and of those that it writes. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export interface ProfiledDispatch extends DispatchFacts {
  /** When the host recorded it: milliseconds since the profile began. */
  readonly recorded: number;
  /** Milliseconds since the GPU began the first dispatch, and on the GPU; undefined without timestamp queries. */
  readonly gpuStart?: number;
  readonly gpuTime?: number;
}

export interface Profiled {
  /** Whether dispatches have GPU times. */
  readonly isTimed: boolean;
  /** In the order in which they were submitted. */
  readonly dispatches: readonly ProfiledDispatch[];
  /** In the order in which they ended. */
  readonly host: readonly HostEvent[];
}

export class Profiler {
  readonly #stopwatch: Stopwatch | undefined;
  readonly #origin = performance.now();
  readonly #host: HostEvent[] = [];
  readonly #dispatches: (DispatchFacts & { readonly recorded: number })[] = [];

  /** `capacity`: the most dispatches in one batch. */
  constructor(gpu: GPUDevice, capacity: number) {
    if (gpu.features.has('timestamp-query')) this.#stopwatch = new Stopwatch(gpu, capacity);
  }

  /** Begins a span on the host. The function that it returns ends it. */
  begin(kind: HostEvent['kind'], name: string): () => void {
    const start = this.#now();
    return () => void this.#host.push({ kind, name, start, duration: this.#now() - start });
  }

  /** Notes a dispatch of the batch that is being encoded, and describes its pass. */
  pass(facts: DispatchFacts & { readonly recorded: number }): GPUComputePassDescriptor {
    this.#dispatches.push(facts);
    return this.#stopwatch ? { timestampWrites: this.#stopwatch.timestampWrites() } : {};
  }

  /** A dispatch as it is recorded. */
  note(facts: DispatchFacts): DispatchFacts & { readonly recorded: number } {
    return { ...facts, recorded: this.#now() };
  }

  /** Call at the end of a batch's encoder. */
  resolve(encoder: GPUCommandEncoder): void {
    this.#stopwatch?.resolve(encoder);
  }

  /** Call after the batch was submitted. */
  collect(): void {
    this.#stopwatch?.collect();
  }

  /** Call once the GPU is done. */
  async finish(): Promise<Profiled> {
    const stamps = await this.#stopwatch?.finish();
    const first = stamps?.reduce<bigint | undefined>(
      (least, { begin }) => (least === undefined || begin < least ? begin : least),
      undefined,
    );
    const dispatches = this.#dispatches.map((facts, i) => ({
      ...facts,
      ...(stamps && {
        gpuStart: milliseconds(stamps[i].begin - first!),
        gpuTime: milliseconds(stamps[i].end - stamps[i].begin),
      }),
    }));
    return { isTimed: stamps !== undefined, dispatches, host: this.#host };
  }

  destroy(): void {
    this.#stopwatch?.destroy();
  }

  #now(): number {
    return performance.now() - this.#origin;
  }
}

function milliseconds(nanoseconds: bigint): number {
  return Number(nanoseconds) / 1e6;
}
