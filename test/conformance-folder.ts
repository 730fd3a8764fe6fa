/**
 * Where the conformance cases are (conformance.ts), for vitest's configurations. Tests read the folder's address from the
 * variable, because a page cannot look for folders.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const VARIABLE = 'WEBGPU_ATTENTION_CONFORMANCE';

/** The variable with the address of the folder, which ends in a slash; no variable where there is no folder. */
export function conformanceVariable(addressOf: (folder: string) => string): Record<string, string> {
  const named = process.env[VARIABLE];
  const folder = named ? resolve(named) : fileURLToPath(new URL('../../shared/conformance', import.meta.url));
  if (existsSync(folder)) return { [VARIABLE]: `${addressOf(folder)}/` };
  if (named) throw new Error(`${VARIABLE} must name a folder that exists, got ${named}`);
  return {};
}
