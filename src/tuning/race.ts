/** Times kernels against each other. Knows no device: what a run takes is told by the caller. */

/** @returns mean milliseconds of a run, of so many in succession */
export type Sample = (kernel: string, runs: number) => Promise<number>;

export interface Effort {
  /** Rounds, in each of which every kernel has its turn. */
  readonly least: number;
  readonly most: number;
  /** No further round begins once the rounds have taken so long and are as many as `least`. */
  readonly milliseconds: number;
}

export interface RaceTime {
  /** Median over the rounds. */
  readonly milliseconds: number;
  /** It took so much longer than another in the first round that it did not get a second one. */
  readonly isAbandoned: boolean;
}

/** A kernel that is slower than the best by this factor in the first round will not win. */
const HOPELESS = 3;

/** Runs that are timed together, so that short ones do not find the GPU asleep. */
const TOGETHER_MS = 3;
const MOST_TOGETHER = 64;

/**
 * Gives each kernel its turn in each round, so that what disturbs the machine disturbs all of them. Every kernel must
 * have run before: a first run is no measure.
 */
export async function race(kernels: readonly string[], sample: Sample, effort: Effort): Promise<Map<string, RaceTime>> {
  const first = new Map<string, number>();
  for (const kernel of kernels) first.set(kernel, await sample(kernel, 1));
  const best = Math.min(...first.values());
  const isHopeless = (kernel: string) => first.get(kernel)! > HOPELESS * best;
  const contenders = kernels.filter((kernel) => !isHopeless(kernel));
  const times = new Map(contenders.map((kernel) => [kernel, [] as number[]]));
  const start = performance.now();
  for (let round = 0; contenders.length > 1 && round < effort.most; round++) {
    if (round >= effort.least && performance.now() - start >= effort.milliseconds) break;
    for (const kernel of contenders) {
      const together = Math.ceil(TOGETHER_MS / Math.max(first.get(kernel)!, TOGETHER_MS / MOST_TOGETHER));
      times.get(kernel)!.push(await sample(kernel, together));
    }
  }
  return new Map(
    kernels.map((kernel) => {
      const own = times.get(kernel) ?? [];
      const milliseconds = own.length > 0 ? median(own) : first.get(kernel)!;
      return [kernel, { milliseconds, isAbandoned: isHopeless(kernel) }];
    }),
  );
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
}

/** By how much a kernel must be faster than the default to replace it: less than that may be noise. */
const MARGIN = 0.05;

/** The fastest kernel, or the default, which comes first, unless another is faster by the margin. */
export function winner(times: ReadonlyMap<string, Pick<RaceTime, 'milliseconds'>>): string {
  const [byDefault, ...others] = [...times].map(([kernel, { milliseconds }]) => ({ kernel, milliseconds }));
  const fastest = others.reduce((best, other) => (other.milliseconds < best.milliseconds ? other : best), byDefault);
  return fastest.milliseconds < (1 - MARGIN) * byDefault.milliseconds ? fastest.kernel : byDefault.kernel;
}
