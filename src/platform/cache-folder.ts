import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';

/** The folder in which this system's programs keep files that can be made again. */
export function cacheRoot(): string {
  const { XDG_CACHE_HOME, LOCALAPPDATA, HOME } = process.env;
  if (XDG_CACHE_HOME && isAbsolute(XDG_CACHE_HOME)) return XDG_CACHE_HOME;
  if (process.platform === 'win32' && LOCALAPPDATA) return LOCALAPPDATA;
  if (!HOME) return tmpdir();
  return process.platform === 'darwin' ? join(HOME, 'Library/Caches') : join(HOME, '.cache');
}

/**
 * Makes the folder, and those above it, for the user alone. Where one cannot be made, as under `/proc`, Node 20's own
 * `recursive` never returns.
 */
export function makeFolder(path: string): void {
  if (existsSync(path)) return;
  const parent = dirname(path);
  if (parent !== path) makeFolder(parent);
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // another process was faster
  }
}

/** Writes another file and renames it, so that other processes see all of it or nothing. */
export function writeWhole(path: string, content: Uint8Array | string): void {
  const partial = `${path}.${randomUUID()}`;
  try {
    writeFileSync(partial, content, { mode: 0o600, flag: 'wx', flush: true });
    renameSync(partial, path);
  } finally {
    rmSync(partial, { force: true });
  }
}
