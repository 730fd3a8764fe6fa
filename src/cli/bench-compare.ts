/** The command `bench compare`: two result files in; a table and an exit code out. */
import { readFile } from 'node:fs/promises';
import pc from 'picocolors';
import { compareResults, type Change, type Comparison } from '../../bench/compare.ts';
import { percent } from '../../bench/report/describe.ts';
import { parseResult } from '../../bench/result-text.ts';
import { ArgumentError, WebGPUAttentionError } from '../index.ts';
import { formatTime, table } from '../display/text.ts';

/** Something became slower than the threshold allows. */
export class RegressionError extends WebGPUAttentionError {
  override name = 'RegressionError';
}

const DEFAULT_THRESHOLD = 0.05;

/** @throws RegressionError at the end if something became slower by more than the threshold, or fails */
export async function runCompare(
  [beforePath, afterPath]: readonly [string, string],
  thresholdText: string | undefined,
  print: (text: string) => void,
): Promise<void> {
  const threshold = parseThreshold(thresholdText);
  const [before, after] = await Promise.all(
    [beforePath, afterPath].map(async (path) => parseResult(await readFile(path, 'utf8'), path)),
  );
  const comparison = compareResults(before, after, threshold);
  printComparison(comparison, print);
  const { regressions } = comparison;
  if (regressions.length > 0) {
    throw new RegressionError(
      `bench compare: worse by more than ${percent(threshold)} beyond the noise: ${regressions.join(', ')}`,
    );
  }
}

function parseThreshold(text: string | undefined): number {
  if (text === undefined) return DEFAULT_THRESHOLD;
  const threshold = Number(text);
  if (text !== '' && threshold >= 0 && threshold < 1) return threshold;
  throw new ArgumentError(`bench compare: --threshold must be a share below 1, such as 0.05 for 5 %, got '${text}'`);
}

const VERDICT = {
  faster: (text: string) => pc.green(`${text} faster`),
  slower: (text: string) => pc.red(`${text} slower`),
  same: () => pc.dim('within noise'),
} as const;

function printComparison(comparison: Comparison, print: (text: string) => void): void {
  const { changes, onlyBefore, onlyAfter, differences } = comparison;
  for (const difference of differences) print(pc.yellow(`Not the same ${difference}`));
  if (changes.length > 0) print(table(['case', 'before', 'after', 'change'], changes.map(changeRow)));
  else print('The results have no case in common.');
  for (const [title, names] of [
    ['Only before', onlyBefore],
    ['Only after', onlyAfter],
  ] as const) {
    if (names.length > 0) print(`${title}:\n${names.map((name) => `  ${name}`).join('\n')}`);
  }
}

function changeRow({ name, before, after, change, verdict }: Change): string[] {
  return [name, formatTime(before.median), formatTime(after.median), VERDICT[verdict](percent(Math.abs(change)))];
}
