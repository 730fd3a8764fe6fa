import { Buffer } from 'node:buffer';

export interface TarEntry {
  name: string;
  content?: Uint8Array | string;
  /** `'0'` for a file, `'2'` for a symbolic link, `'5'` for a folder. */
  type?: string;
  prefix?: string;
}

const BLOCK = 512;

/** A ustar archive, written after the POSIX description; shares nothing with the reader. */
export function makeTar(entries: readonly TarEntry[]): Buffer {
  const blocks = entries.flatMap(({ name, content = '', type = '0', prefix = '' }) => {
    const data = Buffer.from(content);
    const header = Buffer.alloc(BLOCK);
    header.write(name, 0, 100);
    header.write('0000644\0', 100);
    header.write(`${data.length.toString(8).padStart(11, '0')}\0`, 124);
    header.write(' '.repeat(8), 148);
    header.write(type, 156);
    header.write('ustar\x0000', 257);
    header.write(prefix, 345);
    sign(header);
    return [header, data, Buffer.alloc(-data.length & (BLOCK - 1))];
  });
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

/** Writes the checksum of a header; its eight bytes must be spaces. */
export function sign(header: Buffer): void {
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
}
