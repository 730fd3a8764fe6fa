/** Times kernels against each other. It knows no device: the caller measures a run. */

/** @returns the mean milliseconds of a run, over the given number of runs in succession */
export type Sample = (kernel: string, runs: number) => Promise<number>;

export interface Effort {
  /** Rounds, in each of which every kernel has its turn. */
  readonly least: number;
  readonly most: number;
  /** Milliseconds of all rounds, after which no further round begins, unless there were fewer than `least`. */
  readonly milliseconds: number;
  /** Milliseconds for which the default runs first, at least once, so that an idle GPU raises its clock. */
  readonly warmUp: number;
}

export interface RaceTime {
  /** Median over the rounds. */
  readonly milliseconds: number;
  /** Whether it was excluded from the rounds, because it took so much longer than another. */
  readonly isAbandoned: boolean;
}

/** A kernel that is slower than the best by this factor before the rounds will not win. */
const HOPELESS = 3;

/** Runs that are timed together, so that short ones do not find the GPU asleep. */
const TOGETHER_MS = 3;
const MOST_TOGETHER = 64;

/** Limit of samples in the warm-up, each of twice as many runs as the last. It must end even if the clock stands still. */
const MOST_WARM_UPS = 10;

/**
 * Gives each kernel its turn in each round, so that a disturbance of the machine affects all of them. The default comes
 * first. Every kernel must have run before, because first runs are slower.
 */
export async function race(kernels: readonly string[], sample: Sample, effort: Effort): Promise<Map<string, RaceTime>> {
  await warmUp(kernels[0], sample, effort);
  const first = await firstTimes(kernels, sample);
  const best = Math.min(...[...first.values()].filter((time) => time > 0));
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

async function warmUp(kernel: string, sample: Sample, effort: Effort): Promise<void> {
  let busy = 0;
  for (let i = 0, runs = 1; i === 0 || (i < MOST_WARM_UPS && busy < effort.warmUp); i++) {
    busy += runs * (await sample(kernel, runs));
    runs = Math.min(2 * runs, MOST_TOGETHER);
  }
}

/** The better of two runs, the second ones in reverse order, so that one disturbance does not exclude a kernel. */
async function firstTimes(kernels: readonly string[], sample: Sample): Promise<Map<string, number>> {
  const times = new Map<string, number>();
  for (const kernel of [...kernels, ...kernels.toReversed()]) {
    // a clock that ticks too seldom for one run
    const time = (await sample(kernel, 1)) || (await sample(kernel, MOST_TOGETHER));
    times.set(kernel, Math.min(time, times.get(kernel) ?? Infinity));
  }
  return times;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
}

/** The margin by which a kernel must be faster than the default to replace it. Less may be noise. */
const MARGIN = 0.05;

/**
 * The fastest kernel if it beats the default by the margin, else the default, which comes first. A time of 0 does not count.
 */
export function winner(times: ReadonlyMap<string, Pick<RaceTime, 'milliseconds'>>): string {
  const [byDefault, ...others] = [...times].map(([kernel, { milliseconds }]) => ({ kernel, milliseconds }));
  const timed = others.filter(({ milliseconds }) => milliseconds > 0);
  const fastest = timed.reduce((best, other) => (other.milliseconds < best.milliseconds ? other : best), byDefault);
  return fastest.milliseconds < (1 - MARGIN) * byDefault.milliseconds ? fastest.kernel : byDefault.kernel;
}
