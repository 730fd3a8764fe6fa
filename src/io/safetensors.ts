import { ArgumentError, LoadError, quote } from '../gpu/errors.ts';
import type { Device } from '../tensor/device.ts';
import { BYTES, type DType, type TensorData } from '../tensor/dtype.ts';
import { encodeFloat16 } from '../tensor/float16.ts';
import { checkOptions } from '../tensor/options.ts';
import { MAX_RANK, type Shape } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { bytesOf, describe, type FileBytes } from './bytes.ts';
import { MAX_DEPTH, parseJson } from './json.ts';

/** The dtypes that this library reads, by the format's names. It writes F32, F16, BOOL, I32 and U32. */
export type SafetensorsDType = keyof typeof FILE_BYTES;

/** One tensor of a file: `data` is a view of the file's bytes (little endian, row-major, not necessarily aligned). */
export interface SafetensorsEntry {
  /** One of `SafetensorsDType`, or another that the file has. */
  dtype: string;
  shape: number[];
  data: Uint8Array;
}

export interface SafetensorsFile {
  metadata: Record<string, string>;
  tensors: Record<string, SafetensorsEntry>;
}

/** Bytes of one element in the file. */
const FILE_BYTES = {
  F32: 4,
  F16: 2,
  BF16: 2,
  F64: 8,
  BOOL: 1,
  I32: 4,
  U32: 4,
  I64: 8,
  U64: 8,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
} as const;
/** What tensors of a file become: the nearest dtype that holds all their values, or refuses those that it does not hold. */
const TENSOR_DTYPE: Readonly<Record<SafetensorsDType, DType>> = {
  F32: 'float32',
  F16: 'float16',
  BF16: 'float32',
  F64: 'float32',
  BOOL: 'bool',
  I32: 'int32',
  U32: 'uint32',
  I64: 'int32',
  U64: 'uint32',
  I16: 'int32',
  U16: 'uint32',
  I8: 'int32',
  U8: 'uint32',
};
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

export interface LoadSafetensorsOptions {
  /** Which tensors to make: their names, or a function of a name. Default all. */
  only?: readonly string[] | ((name: string) => boolean);
  /**
   * Is called with the name of a tensor that cannot be made, and with the reason; the others are made. Without it the first is
   * an error.
   */
  onUnsupported?: (name: string, reason: string) => void;
}

/**
 * Makes a tensor on `device` of every tensor in a `.safetensors` file.
 *
 * @param bytes the whole file, which may be changed or dropped once the call has returned its promise
 * @returns the tensors by name, in an object without prototype; the caller owns them. F32, BF16 and F64 become `'float32'` (F64
 *   is rounded), F16 `'float16'`, BOOL `'bool'`, I8, I16, I32 and I64 `'int32'`, U8, U16, U32 and U64 `'uint32'`. Shapes are the
 *   file's; that of a single number without axes is [1].
 * @throws LoadError if the file is truncated, inconsistent, or holds a dtype, a shape or an integer that tensors cannot have;
 *   whatever fails, no tensor is left behind
 * @throws ArgumentError if `bytes` is neither a Uint8Array nor an ArrayBuffer, or an option does not fit
 */
export async function loadSafetensors(
  device: Device,
  bytes: FileBytes,
  options: LoadSafetensorsOptions = {},
): Promise<Record<string, Tensor>> {
  const call = 'loadSafetensors';
  checkOptions(call, options, ['only', 'onUnsupported']);
  const { only, onUnsupported } = options;
  if (onUnsupported !== undefined && typeof onUnsupported !== 'function') {
    throw new ArgumentError(`${call}: onUnsupported must be a function, got ${describe(onUnsupported)}`);
  }
  const file = parseSafetensors(bytes);
  if (only === undefined) return makeTensors(device, file, onUnsupported);
  if (typeof only !== 'function') {
    const isList: boolean = Array.isArray(only);
    if (!isList) throw new ArgumentError(`${call}: only must be a list of names or a function, got ${describe(only)}`);
    const missing = only.find((name) => !Object.hasOwn(file.tensors, name));
    if (missing !== undefined) fail(`file must hold the tensor ${quote(String(missing))} of only, got none`);
  }
  const isWanted = typeof only === 'function' ? only : (name: string) => only.includes(name);
  const tensors = Object.fromEntries(Object.entries(file.tensors).filter(([name]) => isWanted(name)));
  return makeTensors(device, { ...file, tensors }, onUnsupported);
}

/** What a `.safetensors` file says of itself: its metadata, and each tensor's dtype by the format's name and its shape. */
export function readSafetensorsHeader(bytes: FileBytes): {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: Readonly<Record<string, { readonly dtype: string; readonly shape: Shape }>>;
} {
  const { metadata, tensors } = parseSafetensors(bytes);
  const described: Record<string, { dtype: string; shape: Shape }> = Object.create(null);
  for (const [name, { dtype, shape }] of Object.entries(tensors)) described[name] = { dtype, shape };
  return { metadata, tensors: described };
}

/** The tensors of a parsed file, by name. If one cannot be made, none is left behind. */
export function makeTensors(
  device: Device,
  { tensors }: SafetensorsFile,
  onUnsupported?: LoadSafetensorsOptions['onUnsupported'],
): Record<string, Tensor> {
  const made: Record<string, Tensor> = Object.create(null);
  try {
    for (const [name, entry] of Object.entries(tensors)) {
      const problem = onUnsupported && problemOf(entry);
      if (problem) onUnsupported(name, problem);
      else made[name] = makeTensor(device, name, entry);
    }
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
  dtype: string;
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
  if (typeof dtype !== 'string') fail(`${tensor} must have a dtype, got ${describe(dtype)}`);
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
  // how large elements of another dtype are is not known
  const bytes = isDType(dtype) ? shape.reduce((product, size) => product * size, FILE_BYTES[dtype]) : end - begin;
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

/** Why no tensor can be made of an entry, if so. */
function problemOf({ dtype, shape, data }: SafetensorsEntry): string | undefined {
  if (!isDType(dtype)) return `must have dtype ${Object.keys(FILE_BYTES).join(', ')}, got ${describe(dtype)}`;
  if (shape.includes(0)) return `must have elements, got shape ${describe(shape)}`;
  if (shape.length > MAX_RANK) return `must have at most ${MAX_RANK} axes, got shape ${describe(shape)}`;
  if (dtype !== 'I64' && dtype !== 'U64') return undefined;
  const [least, most] = dtype === 'I64' ? [-(2n ** 31n), 2n ** 31n - 1n] : [0n, 2n ** 32n - 1n];
  const beyond = wideIntegers(dtype, data).find((value) => value < least || value > most);
  return beyond === undefined ? undefined : `must hold integers of 32 bits, got ${beyond}`;
}

function wideIntegers(dtype: 'I64' | 'U64', data: Uint8Array): BigInt64Array | BigUint64Array {
  const { buffer, byteOffset } = data.byteOffset % 8 === 0 ? data : data.slice();
  return dtype === 'I64'
    ? new BigInt64Array(buffer, byteOffset, data.length / 8)
    : new BigUint64Array(buffer, byteOffset, data.length / 8);
}

function makeTensor(device: Device, name: string, entry: SafetensorsEntry): Tensor {
  const problem = problemOf(entry);
  if (problem) fail(`tensor ${quote(name)} ${problem}`);
  const { shape, data } = entry;
  const dtype = entry.dtype as SafetensorsDType;
  try {
    return device.tensor(elementsOf(dtype, data), shape.length === 0 ? [1] : shape, { dtype: TENSOR_DTYPE[dtype] });
  } catch (cause) {
    if (cause instanceof ArgumentError) fail(`tensor ${quote(name)} must fit the device, got ${cause.message}`, cause);
    throw cause;
  }
}

/** Bytes as `device.tensor` takes them: float16 as its bits, bfloat16, which are the upper half of a float32, as float32. */
export function elementsOf(dtype: string, data: Uint8Array): TensorData | Uint16Array {
  if (!isDType(dtype)) throw new TypeError(`unknown dtype ${dtype}`);
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
    case 'F64':
      return Float32Array.from(new Float64Array(buffer, byteOffset, length));
    case 'I32':
      return new Int32Array(buffer, byteOffset, length);
    case 'U32':
      return new Uint32Array(buffer, byteOffset, length);
    case 'I64':
      return Int32Array.from(wideIntegers(dtype, data), Number);
    case 'U64':
      return Uint32Array.from(wideIntegers(dtype, data), Number);
    case 'I16':
      return Int32Array.from(new Int16Array(buffer, byteOffset, length));
    case 'U16':
      return Uint32Array.from(new Uint16Array(buffer, byteOffset, length));
    case 'I8':
      return Int32Array.from(new Int8Array(buffer, byteOffset, length));
    case 'U8':
      return Uint32Array.from(data);
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
