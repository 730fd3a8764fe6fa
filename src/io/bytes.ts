import { ArgumentError, quote, shorten } from '../gpu/errors.ts';

/** A file's bytes, as users give them. */
export type FileBytes = Uint8Array | ArrayBuffer;

/** Returns the bytes of a file without copying them. `call` and `name` are the function and its argument, for the error. */
export function bytesOf(call: string, name: string, file: unknown): Uint8Array {
  const isBuffer = file instanceof ArrayBuffer;
  if (!isBuffer && !(ArrayBuffer.isView(file) && file instanceof Uint8Array)) {
    throw new ArgumentError(`${call}: ${name} must be a Uint8Array or an ArrayBuffer, got ${describe(file)}`);
  }
  // a buffer that was transferred to another thread has no bytes, and can have no view
  if (file.byteLength === 0) return new Uint8Array(0);
  // not the array itself, because the slice method of Node's Buffer does not copy
  return isBuffer ? new Uint8Array(file) : new Uint8Array(file.buffer, file.byteOffset, file.byteLength);
}

/** What came, for a message; short, whatever it is. It may come from a file, which may give an object any `constructor`. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return quote(value);
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return shorten(String(value));
  if (Array.isArray(value)) {
    if (!value.every((item) => typeof item === 'number')) return 'an array';
    return `[${value.slice(0, 8).join(', ')}${value.length > 8 ? ', …' : ''}]`;
  }
  const name: unknown = value.constructor?.name;
  return typeof name === 'string' && !['', 'Object'].includes(name) ? shorten(name) : 'an object';
}
