/** Finds what became faster or slower between two results. */
import type { Environment } from './environment.ts';
import type { BenchResult, CaseResult, Timing } from './result.ts';

export interface Change {
  readonly name: string;
  readonly before: Timing;
  readonly after: Timing;
  /** The relative change of the median: 0.1 is ten per cent slower. */
  readonly change: number;
  readonly verdict: 'faster' | 'slower' | 'same';
}

export interface Comparison {
  /** Cases that both results have, in the order of the second. */
  readonly changes: readonly Change[];
  readonly onlyBefore: readonly string[];
  readonly onlyAfter: readonly string[];
  /** Cases that are slower by more than the threshold, and cases that fail and did not before. */
  readonly regressions: readonly string[];
  /** Other differences, because of which the times may say nothing about the kernels. */
  readonly differences: readonly string[];
}

/** Smaller changes are not reported, however certain they are, unless the threshold asks for them. */
const LEAST_CHANGE = 0.03;

/** @param threshold the slowing of a median that counts as a regression: 0.05 is five per cent */
export function compareResults(before: BenchResult, after: BenchResult, threshold: number): Comparison {
  const old = new Map(before.cases.map((result) => [result.name, result]));
  const names = new Set(after.cases.map(({ name }) => name));
  const changes = after.cases.flatMap((result) => {
    const same = old.get(result.name);
    return same ? [changeOf(same, result, Math.min(LEAST_CHANGE, threshold))] : [];
  });
  const broken = (after.failures ?? []).filter(({ name }) => old.has(name));
  return {
    changes,
    onlyBefore: before.cases.map(({ name }) => name).filter((name) => !names.has(name)),
    onlyAfter: [...names].filter((name) => !old.has(name)),
    regressions: [
      ...changes
        .filter(({ verdict, change }) => verdict === 'slower' && change > threshold)
        .map(({ name, change }) => `${name} is ${(100 * change).toFixed(0)} % slower`),
      ...broken.map(({ name }) => `${name} fails`),
    ],
    differences: differencesOf(before, after),
  };
}

/** Uses the GPU's clock if both results have it. Medians differ beyond the noise if their intervals do not overlap. */
function changeOf(old: CaseResult, now: CaseResult, leastChange: number): Change {
  const [before, after] = old.gpu && now.gpu ? [old.gpu, now.gpu] : [old.wall, now.wall];
  const change = after.median / before.median - 1;
  const overlap = before.low <= after.high && after.low <= before.high;
  const verdict = overlap || Math.abs(change) < leastChange ? 'same' : change < 0 ? 'faster' : 'slower';
  return { name: now.name, before, after, change, verdict };
}

/** One clause for each difference. */
export function differencesOf(before: Environment, after: Environment): string[] {
  const facts = ({ device, versions, host }: Environment): Readonly<Record<string, string>> => ({
    device: device.name,
    driver: [device.driver, device.description].filter(Boolean).join(', '),
    runtime: versions.runtime,
    webgpu: versions.webgpu ?? 'none',
    processor: `${host.cpu}, ${host.cores} cores`,
  });
  const now = facts(after);
  return Object.entries(facts(before))
    .filter(([name, fact]) => fact !== now[name])
    .map(([name, fact]) => `${name}: ${fact} before, ${now[name]} after`);
}
