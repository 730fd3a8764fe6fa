/** Where Node keeps small texts from one process to the next; the twin of cache-web.ts. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { cacheRoot, makeFolder, writeWhole } from './cache-folder.ts';

const VARIABLE = 'WEBGPU_ATTENTION_TUNING';

/** The folder that the variable `WEBGPU_ATTENTION_TUNING` names, else one in the user's cache; undefined if it says `off`. */
function folder(): string | undefined {
  const named = process.env[VARIABLE];
  if (named === 'off') return undefined;
  return named ? resolve(named) : join(cacheRoot(), 'webgpu-attention');
}

/** Who compiles shaders: a version of Dawn. Empty where its package cannot be found, as in a bundle. */
export function compilerName(): string {
  try {
    const { version } = createRequire(import.meta.url)('webgpu/package.json') as { version: string };
    return `webgpu ${version}`;
  } catch {
    return '';
  }
}

/** The text kept under a file name; undefined if there is none. Rejects if it cannot be read. */
export async function readCached(name: string): Promise<string | undefined> {
  const place = folder();
  if (place === undefined) return undefined;
  try {
    return readFileSync(join(place, name), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Keeps a text under a file name. Any number of processes may do so at once: the last one wins.
 *
 * @returns where it lies; rejects if it cannot be kept
 */
export async function writeCached(name: string, text: string): Promise<string> {
  const place = folder();
  if (place === undefined) throw new Error(`${VARIABLE} is off`);
  makeFolder(place);
  const path = join(place, name);
  writeWhole(path, text);
  return path;
}
