/** Keeps results in files. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { differencesOf } from './compare.ts';
import { deviceSlug } from './environment.ts';
import { formatResult, parseResult } from './result-text.ts';
import type { BenchResult } from './result.ts';

/**
 * Writes a device's result into the folder, in place of an earlier one. It keeps the earlier peers if they were measured on
 * the same machine and driver.
 *
 * @returns the path, and the result with the peers
 */
export async function saveResult(result: BenchResult, folder: string): Promise<{ path: string; whole: BenchResult }> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${deviceSlug(result.device)}.json`);
  const whole = { ...result, ...(await peersIn(path, result)) };
  await writeFile(path, formatResult(whole));
  return { path, whole };
}

async function peersIn(path: string, result: BenchResult): Promise<Pick<BenchResult, 'peers'>> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return {};
  const { peers, ...earlier } = parseResult(text, path);
  return peers && differencesOf(earlier, result).length === 0 ? { peers } : {};
}
