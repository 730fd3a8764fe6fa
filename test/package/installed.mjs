/** The package as a user has it: packed as for npm, and installed from the tarball into a folder of its own. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(fileURLToPath(import.meta.url), '../../..');

/**
 * Packs this package and installs it without its optional dependencies.
 *
 * @returns the folder, the tarball in it and its size, and what deletes all of it
 */
export function installPacked() {
  const folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-package-'));
  npm(['pack', '--silent', '--pack-destination', folder], root); // builds first
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  install(folder, [`./${tarball}`], ['--omit=optional']);
  return {
    folder,
    tarball: join(folder, tarball),
    bytes: statSync(join(folder, tarball)).size,
    dispose: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Installs packages into a folder, which becomes a project of its own. */
export function install(folder, packages, flags = []) {
  const file = join(folder, 'package.json');
  if (!existsSync(file)) writeFileSync(file, '{ "private": true, "type": "module" }\n');
  npm(
    ['install', '--silent', '--no-audit', '--no-fund', '--prefer-offline', '--fetch-retries=5', ...flags, ...packages],
    folder,
  );
}

function npm(args, cwd) {
  execFileSync('npm', args, { cwd, stdio: ['ignore', 'ignore', 'inherit'], shell: process.platform === 'win32' });
}

export function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}
