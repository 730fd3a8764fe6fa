/** The storage of keys and values that both caches have: what it holds, how rows are written to it, and how it grows. */
import { ArgumentError } from '../gpu/errors.ts';
import { planAppend, type AppendPlaces, type AppendProblem } from '../kernels/cache.ts';
import { hadamardMatrix, isCoded, rowWords, type RowFormat } from '../kernels/codes.ts';
import { operandOf } from '../kernels/launch.ts';
import { checkBoolean, checkChoice, checkCount, checkFloat, checkSameDevice, describe } from '../ops/internal/check.ts';
import type { Device } from '../tensor/device.ts';
import { CACHE_DTYPES, type CacheDType, type FloatDType } from '../tensor/dtype.ts';
import { formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { KeyValueStore } from './attend.ts';
import { checkRotary, type RotaryTables } from './rotary.ts';

/** Keys [blocks, Hkv, slots, D] and values [blocks, Hkv, slots, Dv], row-major. A block is a batch entry or a page. */
export type CacheStorage = Pick<KeyValueStore, 'k' | 'v' | 'keyRows' | 'valueRows' | 'hadamard'>;

/** The sizes of the keys and values that a cache holds. */
export interface KeyValueOptions {
  /** Heads of keys and values, Hkv; the query's are a multiple of them. */
  numKvHeads: number;
  /** Elements of a key, D. */
  headDim: number;
  /** Elements of a value, Dv; default headDim. */
  valueDim?: number;
  /**
   * Dtype of the stored keys and values, to which an append converts; default float32. `'int8'` keeps a key or a value of one head
   * as integers from −127 to 127 with one float32 scale, `'int4'` each 32 of its elements as integers from −7 to 7 with one.
   */
  dtype?: CacheDType;
  /** Dtype of the stored values, if not `dtype`. */
  valueDType?: CacheDType;
  /**
   * With `dtype: 'int4'`: whether keys and queries are multiplied by an orthonormal Hadamard matrix, 32 elements at a time, which
   * changes no score but spreads a key's outliers before they are rounded (QuaRot, Ashkboos et al. 2024). Default false.
   */
  hadamard?: boolean;
}

export const ROW_OPTIONS = ['numKvHeads', 'headDim', 'valueDim', 'dtype', 'valueDType', 'hadamard'] as const;

/** @throws ArgumentError for sizes or a dtype that do not fit */
export function checkRows(op: string, rows: KeyValueOptions): void {
  const { numKvHeads, headDim, valueDim, dtype, valueDType, hadamard } = rows;
  checkCount(op, 'numKvHeads', numKvHeads);
  checkCount(op, 'headDim', headDim);
  if (valueDim !== undefined) checkCount(op, 'valueDim', valueDim);
  if (dtype !== undefined) checkChoice(op, 'dtype', dtype, CACHE_DTYPES);
  if (valueDType !== undefined) checkChoice(op, 'valueDType', valueDType, CACHE_DTYPES);
  checkBoolean(op, 'hadamard', hadamard);
  if (hadamard && dtype !== 'int4') {
    throw new ArgumentError(`${op}: hadamard must come with dtype 'int4', got ${describe(dtype)}`);
  }
}

/** @throws ArgumentError unless a sequence that holds `held` keys may be cut to `length` of them */
export function checkTruncation(op: string, length: number, least: number, held: number): void {
  if (!Number.isInteger(length) || length < least || length > held) {
    throw new ArgumentError(
      `${op}: length must be an integer from ${least} to the ${held} keys held, got ${describe(length)}`,
    );
  }
}

/** @throws ArgumentError if the storage is disposed */
export function assertAlive(op: string, { k }: CacheStorage): void {
  if (k.disposed) throw new ArgumentError(`${op}: the cache must not be disposed`);
  k.device.assertUsable();
}

/** Allocates empty storage, which outlives the scope that it is made in. */
export function allocate(
  op: string,
  device: Device,
  blocks: number,
  slots: number,
  rows: KeyValueOptions,
): CacheStorage {
  const { numKvHeads, headDim, valueDim = headDim, dtype = 'float32', valueDType = dtype } = rows;
  const keyRows: RowFormat = { dim: headDim, dtype };
  const valueRows: RowFormat = { dim: valueDim, dtype: valueDType };
  const allocateRows = (format: RowFormat) =>
    isCoded(format.dtype)
      ? device.empty([blocks, numKvHeads, slots, rowWords(format)], 'uint32', op)
      : device.empty([blocks, numKvHeads, slots, format.dim], format.dtype, op);
  const tensors = device.scope(() => ({
    k: allocateRows(keyRows),
    v: allocateRows(valueRows),
    hadamard: rows.hadamard ? device.tensor(hadamardMatrix(headDim), [headDim, headDim]) : undefined,
  }));
  for (const tensor of Object.values(tensors)) if (tensor) device.keep(tensor);
  return { ...tensors, keyRows, valueRows };
}

/** What a print of a cache says of its storage. */
export function storageFacts({ k, keyRows, valueRows, hadamard }: CacheStorage): Readonly<Record<string, unknown>> {
  const [, numKvHeads] = k.shape;
  const { dim: headDim, dtype } = keyRows;
  const valueDim = valueRows.dim === headDim ? undefined : valueRows.dim;
  const valueDType = valueRows.dtype === dtype ? undefined : valueRows.dtype;
  return { numKvHeads, headDim, valueDim, dtype, valueDType, hadamard: hadamard && true };
}

export function disposeStorage({ k, v, hadamard }: CacheStorage): void {
  k.dispose();
  v.dispose();
  hadamard?.dispose();
}

/**
 * Checks what is to be appended to a cache.
 *
 * @param k [batch, Hkv, N, D]; float32 or float16; any strides
 * @param v [batch, Hkv, N, Dv], of the same dtype
 * @returns N
 * @throws ArgumentError, with nothing changed
 */
export function checkAppend(
  op: string,
  k: Tensor,
  v: Tensor,
  batch: number,
  storage: CacheStorage,
  rotary: RotaryTables | undefined,
): number {
  for (const [name, tensor, stored, dim] of [
    ['key', k, storage.k, storage.keyRows.dim],
    ['value', v, storage.v, storage.valueRows.dim],
  ] as const) {
    checkFloat(op, name, tensor);
    checkSameDevice(op, 'the cache', stored, name, tensor);
    const [, heads] = stored.shape;
    const fits = tensor.rank === 4 && [batch, heads, dim].every((length, i) => tensor.shape[[0, 1, 3][i]] === length);
    if (!fits) {
      throw new ArgumentError(
        `${op}: ${name} must have shape [${batch}, ${heads}, length, ${dim}], got ${formatShape(tensor.shape)}`,
      );
    }
    if ([storage.k, storage.v].some((own) => own.storage(op) === tensor.storage(op))) {
      throw new ArgumentError(`${op}: ${name} must not be a view of the cache, got one`);
    }
  }
  if (v.dtype !== k.dtype) throw new ArgumentError(`${op}: value must have key's dtype ${k.dtype}, got ${v.dtype}`);
  if (v.shape[2] !== k.shape[2]) {
    throw new ArgumentError(`${op}: value length must equal key's ${k.shape[2]}, got ${v.shape[2]}`);
  }
  if (rotary !== undefined) checkRotary(op, storage, rotary);
  return k.shape[2];
}

/** Writes checked rows in one dispatch. Pages take one upload as well, and one more dispatch if some are copied. */
export function append(
  op: string,
  k: Tensor,
  v: Tensor,
  storage: CacheStorage,
  places: AppendPlaces,
  rotary?: RotaryTables,
): void {
  const rows = {
    inDType: k.dtype as FloatDType,
    length: k.shape[2],
    keys: storage.keyRows,
    values: storage.valueRows,
    hadamard: storage.hadamard !== undefined,
    k: operandOf(k),
    v: operandOf(v),
  };
  write(op, { k, v }, storage, rows, places, rotary);
}

function write(
  op: string,
  { k, v }: Pick<CacheStorage, 'k' | 'v'>,
  { k: keys, v: values }: CacheStorage,
  rows: Pick<AppendProblem, 'inDType' | 'length' | 'keys' | 'values' | 'hadamard' | 'isRaw' | 'k' | 'v'>,
  places: AppendPlaces,
  rotary?: RotaryTables,
): void {
  const { device } = keys;
  const [, kvHeads, slots] = keys.shape;
  const plan = planAppend(
    {
      op,
      ...rows,
      batch: k.shape[0],
      kvHeads,
      slots,
      places,
      rotary: rotary && {
        dim: 2 * rotary.cos.shape[1],
        interleaved: rotary.interleaved ?? false,
        cos: operandOf(rotary.cos),
        sin: operandOf(rotary.sin),
      },
    },
    device.traits,
  );
  device.scope(() => {
    const table = plan.table && device.words(plan.table, op);
    if (plan.copy) device.dispatch(op, plan.copy, { table, keys, values });
    const tables = { cos_table: rotary?.cos, sin_table: rotary?.sin };
    device.dispatch(op, plan.append, { k, v, ...tables, table, keys, values });
  });
  keys.changed();
  values.changed();
}

/**
 * Copies the first `length` rows of every block into larger storage, and disposes the old one. Work that was recorded
 * before still reads the old one, because only later work can reuse its memory.
 */
export function moveRows(op: string, from: CacheStorage, to: CacheStorage, length: number): void {
  // whatever the dtype, rows are moved as words; through numbers, codes that look like NaN or are subnormal might change
  const [keys, values] = [from.keyRows, from.valueRows].map((format): RowFormat => ({
    dim: rowWords(format),
    dtype: 'float32',
  }));
  const [, heads, slots] = from.k.shape;
  const operand = ({ dim }: RowFormat) => ({ strides: [heads * slots * dim, slots * dim, dim, 1], offset: 0 });
  const moved = { isRaw: true, inDType: 'float32', length, keys, values } as const;
  const rows = { ...moved, k: operand(keys), v: operand(values) };
  try {
    write(op, from, to, rows, { kind: 'ring', position: 0, kept: 0 });
  } catch (error) {
    disposeStorage(to);
    throw error;
  }
  disposeStorage(from);
}
