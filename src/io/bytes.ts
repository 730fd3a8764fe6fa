import { ArgumentError, quote, shorten } from '../gpu/errors.ts';

/** A file's bytes, as users give them. */
export type FileBytes = Uint8Array | ArrayBuffer;

/** Returns the bytes of a file without copying them. `call` and `name` are the function and its argument, for the error. */
export function bytesOf(call: string, name: string, file: unknown): Uint8Array {
  const isBuffer = file instanceof ArrayBuffer;
  if (!isBuffer && !(ArrayBuffer.isView(file) && file instanceof Uint8Array)) {
    throw new ArgumentError(`${call}: ${name} must be a Uint8Array or an ArrayBuffer, got ${kindOf(file)}`);
  }
  // a buffer that was transferred to another thread has no bytes, and can have no view
  if (file.byteLength === 0) return new Uint8Array(0);
  // not the array itself, because the slice method of Node's Buffer does not copy
  return isBuffer ? new Uint8Array(file) : new Uint8Array(file.buffer, file.byteOffset, file.byteLength);
}

function kindOf(value: unknown): string {
  if (typeof value === 'string') return quote(value);
  if (typeof value !== 'object' || value === null) return shorten(String(value));
  return shorten(String(value.constructor?.name ?? 'an object'));
}
