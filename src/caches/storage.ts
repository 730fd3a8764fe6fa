/** The storage of keys and values that both caches have: what it holds, how rows are written to it, and how it grows. */
import { ArgumentError } from '../gpu/errors.ts';
import { planAppend, type AppendPlaces } from '../kernels/cache.ts';
import { operandOf } from '../kernels/launch.ts';
import { checkChoice, checkCount, checkFloat, checkSameDevice } from '../ops/internal/check.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { KeyValueStore } from './attend.ts';
import { checkRotary, type RotaryTables } from './rotary.ts';

/** Keys [blocks, Hkv, slots, D] and values [blocks, Hkv, slots, Dv] of one dtype, row-major. A block is a batch entry or a page. */
export type CacheStorage = Pick<KeyValueStore, 'k' | 'v'>;

/** The sizes of the keys and values that a cache holds. */
export interface KeyValueOptions {
  /** Heads of keys and values, Hkv; the query's are a multiple of them. */
  numKvHeads: number;
  /** Elements of a key, D. */
  headDim: number;
  /** Elements of a value, Dv; default headDim. */
  valueDim?: number;
  /** Dtype of the stored keys and values, to which an append converts. Default float32. */
  dtype?: FloatDType;
}

export const ROW_OPTIONS = ['numKvHeads', 'headDim', 'valueDim', 'dtype'] as const;

/** @throws ArgumentError for sizes or a dtype that do not fit */
export function checkRows(op: string, { numKvHeads, headDim, valueDim, dtype }: KeyValueOptions): void {
  checkCount(op, 'numKvHeads', numKvHeads);
  checkCount(op, 'headDim', headDim);
  if (valueDim !== undefined) checkCount(op, 'valueDim', valueDim);
  if (dtype !== undefined) checkChoice(op, 'dtype', dtype, ['float32', 'float16']);
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
  const { numKvHeads, headDim, valueDim = headDim, dtype = 'float32' } = rows;
  const storage = device.scope(() => ({
    k: device.empty([blocks, numKvHeads, slots, headDim], dtype, op),
    v: device.empty([blocks, numKvHeads, slots, valueDim], dtype, op),
  }));
  device.keep(storage.k);
  device.keep(storage.v);
  return storage;
}

/** What a print of a cache says of its storage. */
export function storageFacts({ k, v }: CacheStorage): Readonly<Record<string, unknown>> {
  const [, numKvHeads, , headDim] = k.shape;
  const valueDim = v.shape[3] === headDim ? undefined : v.shape[3];
  return { numKvHeads, headDim, valueDim, dtype: k.dtype };
}

export function disposeStorage({ k, v }: CacheStorage): void {
  k.dispose();
  v.dispose();
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
  for (const [name, tensor, stored] of [
    ['key', k, storage.k],
    ['value', v, storage.v],
  ] as const) {
    checkFloat(op, name, tensor);
    checkSameDevice(op, 'the cache', stored, name, tensor);
    const [, heads, , dim] = stored.shape;
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
  if (rotary !== undefined) checkRotary(op, storage.k, rotary);
  return k.shape[2];
}

/** Writes checked rows in one dispatch. Pages take one upload as well, and one more dispatch if some are copied. */
export function append(
  op: string,
  k: Tensor,
  v: Tensor,
  { k: keys, v: values }: CacheStorage,
  places: AppendPlaces,
  rotary?: RotaryTables,
): void {
  const { device } = keys;
  const [, kvHeads, slots, keyDim] = keys.shape;
  const plan = planAppend(
    {
      op,
      batch: k.shape[0],
      kvHeads,
      length: k.shape[2],
      keyDim,
      valueDim: values.shape[3],
      inDType: k.dtype as FloatDType,
      cacheDType: keys.dtype as FloatDType,
      k: operandOf(k),
      v: operandOf(v),
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
    device.dispatch(op, plan.append, { k, v, cos_table: rotary?.cos, sin_table: rotary?.sin, table, keys, values });
  });
  keys.changed();
  values.changed();
}

/**
 * Copies the first `length` rows of every block into larger storage, and disposes the old one. Work that was recorded
 * before still reads the old one, because only later work can reuse its memory.
 */
export function moveRows(op: string, from: CacheStorage, to: CacheStorage, length: number): void {
  const { device } = from.k;
  try {
    device.scope(() => {
      const [k, v] = [from.k, from.v].map((tensor) => tensor.slice(2, 0, length));
      append(op, k, v, to, { kind: 'ring', position: 0, kept: 0 });
    });
  } catch (error) {
    disposeStorage(to);
    throw error;
  }
  disposeStorage(from);
}
