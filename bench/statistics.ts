/** Summarises repeated times by their median, because a busy machine only ever slows single runs down. */
import { uniform } from '../src/tensor/random.ts';
import type { Timing } from './result.ts';

const RESAMPLES = 1000;

/** @param milliseconds at least one; the same times give the same interval */
export function summarise(milliseconds: readonly number[]): Timing {
  const sorted = milliseconds.toSorted((a, b) => a - b);
  const [low, high] = bootstrapInterval(sorted);
  return { median: medianOf(sorted), min: sorted[0], max: sorted.at(-1)!, low, high, runs: sorted.length };
}

export function medianOf(sorted: readonly number[]): number {
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
}

/** The 95 % interval of the median, from the medians of samples drawn with replacement. */
function bootstrapInterval(sorted: readonly number[]): [low: number, high: number] {
  const next = uniform(sorted.length);
  const medians = Array.from({ length: RESAMPLES }, () => {
    const sample = sorted.map(() => sorted[Math.floor(next() * sorted.length)]);
    return medianOf(sample.sort((a, b) => a - b));
  }).sort((a, b) => a - b);
  return [medians[Math.floor(0.025 * RESAMPLES)], medians[Math.ceil(0.975 * RESAMPLES) - 1]];
}
