import { ArgumentError, LoadError, quote } from '../gpu/errors.ts';
import type { Device } from '../tensor/device.ts';
import { BYTES, type DType, type TensorData } from '../tensor/dtype.ts';
import { encodeFloat16 } from '../tensor/float16.ts';
import { Tensor } from '../tensor/tensor.ts';
import { bytesOf, describe, type FileBytes } from './bytes.ts';
import { MAX_DEPTH, parseJson } from './json.ts';

/** The dtypes that this library reads (and but for BF16 writes), by the format's names. */
export type SafetensorsDType = 'F32' | 'F16' | 'BF16' | 'BOOL' | 'I32' | 'U32';

/** One tensor of a file: `data` is a view of the file's bytes (little endian, row-major, not necessarily aligned). */
export interface SafetensorsEntry {
  dtype: SafetensorsDType;
  shape: number[];
  data: Uint8Array;
}

export interface SafetensorsFile {
  metadata: Record<string, string>;
  tensors: Record<string, SafetensorsEntry>;
}

const TENSOR_DTYPE: Readonly<Record<SafetensorsDType, DType>> = {
  F32: 'float32',
  F16: 'float16',
  BF16: 'float32',
  BOOL: 'bool',
  I32: 'int32',
  U32: 'uint32',
};
/** Bytes of one element in the file. */
const FILE_BYTES: Readonly<Record<SafetensorsDType, number>> = { F32: 4, F16: 2, BF16: 2, BOOL: 1, I32: 4, U32: 4 };
const FILE_DTYPE: Readonly<Record<DType, SafetensorsDType>> = {
  float32: 'F32',
  float16: 'F16',
  bool: 'BOOL',
  int32: 'I32',
  uint32: 'U32',
};

const LENGTH_BYTES = 8;
const HEADER_ALIGNMENT = 8;
/** The reference implementation's bound, so that a lying length cannot make us allocate. */
const MAX_HEADER_BYTES = 100_000_000;
const METADATA_KEY = '__metadata__';

/**
 * Makes a tensor on `device` of every tensor in a `.safetensors` file.
 *
 * @param bytes the whole file, which may be changed or dropped once the call has returned its promise
 * @returns the tensors by name, in an object without prototype; the caller owns them. F32 and BF16
 *   become `'float32'`, F16 `'float16'`, BOOL `'bool'`, I32 `'int32'`, U32 `'uint32'`; shapes are the file's.
 * @throws LoadError if the file is truncated, inconsistent, or holds a dtype or shape that tensors cannot have; whatever
 *   fails, no tensor is left behind
 * @throws ArgumentError if `bytes` is neither a Uint8Array nor an ArrayBuffer
 */
export async function loadSafetensors(device: Device, bytes: FileBytes): Promise<Record<string, Tensor>> {
  return makeTensors(device, parseSafetensors(bytes));
}

/** The tensors of a parsed file, by name. If one cannot be made, none is left behind. */
export function makeTensors(device: Device, { tensors }: SafetensorsFile): Record<string, Tensor> {
  const made: Record<string, Tensor> = Object.create(null);
  try {
    for (const [name, entry] of Object.entries(tensors)) made[name] = makeTensor(device, name, entry);
  } catch (error) {
    for (const tensor of Object.values(made)) tensor.dispose();
    throw error;
  }
  return made;
}

/**
 * Writes tensors as a `.safetensors` file, with the dtypes F32, F16, BOOL, I32 and U32.
 *
 * Views are written as what they show. The tensors' values are those at the time of the call.
 *
 * @param metadata the file's `__metadata__`, strings only
 * @throws ArgumentError for a value that is not a tensor, the reserved name `__metadata__` or metadata that is not a string
 */
export async function saveSafetensors(
  tensors: Record<string, Tensor>,
  metadata: Record<string, string> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== 'string') {
      throw new ArgumentError(`saveSafetensors: metadata ${quote(key)} must be a string, got ${typeof value}`);
    }
  }
  for (const [name, tensor] of Object.entries(tensors)) {
    if (name === METADATA_KEY) {
      throw new ArgumentError(
        `saveSafetensors: a tensor's name must not be ${METADATA_KEY}, which the format reserves`,
      );
    }
    if (!(tensor instanceof Tensor)) {
      throw new ArgumentError(`saveSafetensors: ${quote(name)} must be a Tensor, got ${describe(tensor)}`);
    }
  }
  // Wide elements first, so that each tensor is aligned to its element without padding, which the format forbids.
  const ordered = Object.entries(tensors).sort(([, a], [, b]) => BYTES[b.dtype] - BYTES[a.dtype]);
  const payloads = await Promise.all(ordered.map(async ([, tensor]) => payloadOf(tensor.dtype, await tensor.data())));

  const header: [string, unknown][] = Object.keys(metadata).length > 0 ? [[METADATA_KEY, metadata]] : [];
  let dataBytes = 0;
  for (const [index, [name, { dtype, shape }]] of ordered.entries()) {
    const begin = dataBytes;
    dataBytes += payloads[index].byteLength;
    header.push([name, { dtype: FILE_DTYPE[dtype], shape, data_offsets: [begin, dataBytes] }]);
  }
  // fromEntries, because a literal would take the name `__proto__` for the prototype.
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const headerBytes = Math.ceil(text.length / HEADER_ALIGNMENT) * HEADER_ALIGNMENT;

  const file = new Uint8Array(LENGTH_BYTES + headerBytes + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.set(text, LENGTH_BYTES);
  file.fill(0x20, LENGTH_BYTES + text.length, LENGTH_BYTES + headerBytes);
  let offset = LENGTH_BYTES + headerBytes;
  for (const payload of payloads) {
    file.set(payload, offset);
    offset += payload.byteLength;
  }
  return file;
}

/**
 * Reads a `.safetensors` file without a device, and trusts nothing in it: the payload must be covered by its tensors exactly,
 * without gap or overlap.
 *
 * Layout: `u64 headerBytes | JSON header | payload`; offsets count from the payload's start.
 *
 * @returns objects without prototype, so that names such as `__proto__` or `constructor` are names like any other
 * @throws LoadError, one sentence that says what is wrong
 * @throws ArgumentError if `file` is neither a Uint8Array nor an ArrayBuffer
 */
export function parseSafetensors(file: FileBytes): SafetensorsFile {
  const { header, payload } = splitFile(bytesOf('loadSafetensors', 'bytes', file));

  const metadata: Record<string, string> = Object.create(null);
  const ranges: Range[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === METADATA_KEY) Object.assign(metadata, checkedMetadata(value));
    else ranges.push(checkedRange(name, value, payload.length));
  }
  checkCoverage(ranges, payload.length);

  const tensors: Record<string, SafetensorsEntry> = Object.create(null);
  for (const { name, dtype, shape, begin, end } of ranges) {
    tensors[name] = { dtype, shape, data: payload.subarray(begin, end) };
  }
  return { metadata, tensors };
}

interface Range {
  name: string;
  dtype: SafetensorsDType;
  shape: number[];
  begin: number;
  end: number;
}

function splitFile(bytes: Uint8Array): { header: object; payload: Uint8Array } {
  if (bytes.length < LENGTH_BYTES) {
    fail(`file must hold an ${LENGTH_BYTES}-byte header length, got ${bytes.length} bytes`);
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) fail(`header must have at most ${MAX_HEADER_BYTES} bytes, got ${length}`);
  const payloadStart = LENGTH_BYTES + Number(length);
  if (payloadStart > bytes.length) {
    fail(`header of ${length} bytes must end within the file, got a file of ${bytes.length} bytes`);
  }
  // A copy, because TextDecoder refuses shared memory.
  const encoded = bytes.slice(LENGTH_BYTES, payloadStart);
  if (encoded[0] !== 0x7b) {
    fail(`header must start with "{", got ${encoded.length === 0 ? 'nothing' : `byte ${encoded[0]}`}`);
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(encoded);
  } catch (cause) {
    fail('header must be UTF-8, got other bytes', cause);
  }
  let header: unknown;
  try {
    header = parseJson(text);
  } catch (cause) {
    if (cause instanceof SyntaxError) fail('header must be JSON, got malformed text', cause);
    fail(`header must nest at most ${MAX_DEPTH} levels, got more`, cause);
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) fail(`header must hold each key once, got ${quote(duplicate)} twice`);
  return { header: header as object, payload: bytes.subarray(payloadStart) };
}

function checkedMetadata(value: unknown): Record<string, string> {
  if (!isObject(value)) fail(`${METADATA_KEY} must be an object of strings, got ${describe(value)}`);
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry !== 'string') fail(`${METADATA_KEY} ${quote(key)} must be a string, got ${describe(entry)}`);
  }
  return value as Record<string, string>;
}

function checkedRange(name: string, value: unknown, payloadBytes: number): Range {
  const tensor = `tensor ${quote(name)}`;
  if (!isObject(value)) fail(`${tensor} must be described by an object, got ${describe(value)}`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDType(dtype)) {
    fail(`${tensor} must have dtype F32, F16, BF16, BOOL, I32 or U32, got ${describe(dtype)}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    fail(`${tensor} must have a shape of non-negative integers, got ${describe(shape)}`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    fail(`${tensor} must have two non-negative integer data_offsets, got ${describe(offsets)}`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > payloadBytes) {
    fail(`${tensor} must lie within the payload of ${payloadBytes} bytes, got data_offsets ${begin} to ${end}`);
  }
  const bytes = shape.reduce((product, size) => product * size, FILE_BYTES[dtype]);
  if (bytes !== end - begin) {
    fail(`${tensor} must have ${bytes} bytes for ${dtype} and shape ${describe(shape)}, got ${end - begin}`);
  }
  return { name, dtype, shape, begin, end };
}

function checkCoverage(ranges: readonly Range[], payloadBytes: number): void {
  let covered = 0;
  let previous = 'the start';
  for (const { name, begin, end } of ranges.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== covered) {
      fail(`tensor ${quote(name)} must begin at byte ${covered} where ${previous} ends, got ${begin}`);
    }
    covered = end;
    previous = `tensor ${quote(name)}`;
  }
  if (covered !== payloadBytes) {
    fail(`payload must end at byte ${covered} where ${previous} ends, got ${payloadBytes} bytes`);
  }
}

/** The first key that an object within `json`, which is valid JSON, holds twice: `JSON.parse` would keep the last silently. */
function findDuplicateKey(json: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  for (let at = 0; at < json.length; at++) {
    const char = json[at];
    if (char === '{') open.push(new Set());
    else if (char === '[') open.push(undefined);
    else if (char === '}' || char === ']') open.pop();
    else if (char === '"') {
      const start = at++;
      while (json[at] !== '"') at += json[at] === '\\' ? 2 : 1;
      let next = at + 1;
      while (/\s/.test(json[next] ?? '')) next++;
      if (json[next] !== ':') continue;
      const key = JSON.parse(json.slice(start, at + 1)) as string;
      if (open.at(-1)!.has(key)) return key;
      open.at(-1)!.add(key);
    }
  }
  return undefined;
}

function makeTensor(device: Device, name: string, { dtype, shape, data }: SafetensorsEntry): Tensor {
  try {
    return device.tensor(elementsOf(dtype, data), shape, { dtype: TENSOR_DTYPE[dtype] });
  } catch (cause) {
    if (cause instanceof ArgumentError) fail(`tensor ${quote(name)} must fit the device, got ${cause.message}`, cause);
    throw cause;
  }
}

/** Bytes as `device.tensor` takes them: float16 as its bits, bfloat16, which are the upper half of a float32, as float32. */
export function elementsOf(dtype: SafetensorsDType, data: Uint8Array): TensorData | Uint16Array {
  // Any byte but 0 is true, as in NumPy; the device expects 0 and 1.
  if (dtype === 'BOOL') return data.map((byte) => (byte === 0 ? 0 : 1));
  const bytes = FILE_BYTES[dtype];
  const { buffer, byteOffset } = data.byteOffset % bytes === 0 ? data : data.slice();
  const length = data.length / bytes;
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer, byteOffset, length);
    case 'F16':
      return new Uint16Array(buffer, byteOffset, length);
    case 'BF16':
      return decodeBFloat16(new Uint16Array(buffer, byteOffset, length));
    case 'I32':
      return new Int32Array(buffer, byteOffset, length);
    case 'U32':
      return new Uint32Array(buffer, byteOffset, length);
  }
}

function decodeBFloat16(halves: Uint16Array): Float32Array {
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = halves[i] << 16;
  return new Float32Array(words.buffer);
}

function payloadOf(dtype: DType, values: TensorData): Uint8Array {
  const elements = dtype === 'float16' ? encodeFloat16(values) : values;
  return new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength);
}

function isDType(value: unknown): value is SafetensorsDType {
  return typeof value === 'string' && Object.hasOwn(TENSOR_DTYPE, value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fail(problem: string, cause?: unknown): never {
  throw new LoadError(`loadSafetensors: ${problem}`, cause === undefined ? undefined : { cause });
}
