/** Times kernels against each other. Knows no device: what a run takes is told by the caller. */

/** @returns mean milliseconds of a run, of so many in succession */
export type Sample = (kernel: string, runs: number) => Promise<number>;

export interface Effort {
  /** Rounds, in each of which every kernel has its turn. */
  readonly least: number;
  readonly most: number;
  /** No further round begins once the rounds have taken so long and are as many as `least`. */
  readonly milliseconds: number;
  /** Milliseconds that the default runs for beforehand, so that an idle GPU's clock is up; it runs once at least. */
  readonly warmUp: number;
}

export interface RaceTime {
  /** Median over the rounds. */
  readonly milliseconds: number;
  /** It took so much longer than another that it took part in no round. */
  readonly isAbandoned: boolean;
}

/** A kernel that is slower than the best by this factor before the rounds will not win. */
const HOPELESS = 3;

/** Runs that are timed together, so that short ones do not find the GPU asleep. */
const TOGETHER_MS = 3;
const MOST_TOGETHER = 64;

/** Samples of the warm-up, of twice as many runs each time: a clock that stands still must not keep it going. */
const MOST_WARM_UPS = 10;

/**
 * Gives each kernel its turn in each round, so that what disturbs the machine disturbs all of them. The default comes
 * first among them. Every kernel must have run before: a first run is no measure.
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

/** The better of two runs, the second ones in reverse order: what disturbs one alone rules out no kernel. */
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

/** By how much a kernel must be faster than the default to replace it: less than that may be noise. */
const MARGIN = 0.05;

/**
 * The fastest kernel, or the default, which comes first, unless another is faster by the margin. A time of 0 is none.
 */
export function winner(times: ReadonlyMap<string, Pick<RaceTime, 'milliseconds'>>): string {
  const [byDefault, ...others] = [...times].map(([kernel, { milliseconds }]) => ({ kernel, milliseconds }));
  const timed = others.filter(({ milliseconds }) => milliseconds > 0);
  const fastest = timed.reduce((best, other) => (other.milliseconds < best.milliseconds ? other : best), byDefault);
  return fastest.milliseconds < (1 - MARGIN) * byDefault.milliseconds ? fastest.kernel : byDefault.kernel;
}
