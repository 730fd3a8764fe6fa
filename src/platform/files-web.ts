/** Reads a model's files from an address; the twin of files-node.ts. */
import { LoadError } from '../gpu/errors.ts';

/** Fetches a file beside others by its name; undefined if there is none. */
export function readFolder(folder: string): (name: string) => Promise<Uint8Array | undefined> {
  const base = folder.endsWith('/') ? folder : `${folder}/`;
  return async (name) => {
    const response = await fetch(base + name).catch((cause: unknown) => {
      throw new LoadError(`${base}${name} must be readable, got ${String(cause)}`, { cause });
    });
    if (response.status === 404) return undefined;
    if (!response.ok) throw new LoadError(`${base}${name} must be readable, got status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };
}
