/** Reads a model's files from a folder; the twin of files-web.ts. */
import { constants } from 'node:buffer';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { LoadError } from '../gpu/errors.ts';

/** Most bytes that one system call reads. */
const READ_BYTES = 2 ** 30;

/** Reads a file of a folder by its name; undefined if there is none. */
export function readFolder(folder: string): (name: string) => Promise<Uint8Array | undefined> {
  return async (name) => {
    try {
      return await readBytes(join(folder, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw new LoadError(`${join(folder, name)} must be readable, got ${(error as Error).message}`, { cause: error });
    }
  };
}

/** Reads a whole file, which may have more than the 2 GiB that `readFile` takes. */
export async function readBytes(path: string): Promise<Uint8Array> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    if (size > constants.MAX_LENGTH) {
      throw new LoadError(`${path} must have at most ${constants.MAX_LENGTH} bytes, got ${size}`);
    }
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size;) {
      const { bytesRead } = await file.read(bytes, at, Math.min(READ_BYTES, size - at), at);
      if (bytesRead === 0) return bytes.subarray(0, at); // the file became shorter meanwhile
      at += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}
