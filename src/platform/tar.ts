import { LoadError } from '../gpu/errors.ts';

const BLOCK = 512;

/**
 * The regular files of an uncompressed ustar archive: path → content (views into `archive`).
 *
 * @throws LoadError for an archive that is cut off or damaged, or holds links or paths that lead out of a folder
 */
export function readTar(archive: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  for (let at = 0; at + BLOCK <= archive.length;) {
    const header = archive.subarray(at, at + BLOCK);
    if (header.every((byte) => byte === 0)) return files;
    checkSum(header, at);
    const path = [text(header, 345, 155), text(header, 0, 100)]
      .filter(Boolean)
      .join('/')
      .replace(/^(\.\/)+/, '');
    const size = octal(header, 124, 12, at);
    const type = text(header, 156, 1) || '0';
    const content = archive.subarray(at + BLOCK, at + BLOCK + size);
    if (content.length < size) throw new LoadError(`tar: ${path} must have ${size} bytes, got ${content.length}`);
    if (path.startsWith('/') || path.split('/').includes('..')) {
      throw new LoadError(`tar: a path must stay inside the archive, got ${path}`);
    }
    if (type !== '0' && type !== '5') throw new LoadError(`tar: ${path} must be a file or folder, got type ${type}`);
    if (type === '0') files.set(path, content);
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  throw new LoadError(`tar: the archive must end with an empty block, got ${archive.length} bytes without one`);
}

function checkSum(header: Uint8Array, at: number): void {
  // The field itself counts as eight spaces.
  const sum = header.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 32 : byte), 0);
  if (sum !== octal(header, 148, 8, at)) throw new LoadError(`tar: the header at byte ${at} is damaged`);
}

function text(header: Uint8Array, start: number, length: number): string {
  return new TextDecoder().decode(header.subarray(start, start + length)).split('\0')[0];
}

function octal(header: Uint8Array, start: number, length: number, at: number): number {
  const digits = text(header, start, length).trim();
  if (!/^[0-7]+$/.test(digits)) throw new LoadError(`tar: the header at byte ${at} is damaged`);
  return Number.parseInt(digits, 8);
}
