/** What both caches are made of, and how they grow. */
import { ArgumentError } from '../gpu/errors.ts';
import { append, type CacheStorage } from './append.ts';
import { describe } from '../ops/internal/check.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';

/** The sizes of the keys and values that a cache holds. */
export interface KeyValueOptions {
  /** Heads of keys and values, Hkv; the query's are a multiple of them. */
  numKvHeads: number;
  /** Elements of a key, D. */
  headDim: number;
  /** Elements of a value, Dv; default headDim. */
  valueDim?: number;
  /** What is stored; keys and values are converted on the way. Default float32. */
  dtype?: FloatDType;
}

export const ROW_OPTIONS = ['numKvHeads', 'headDim', 'valueDim', 'dtype'] as const;

/** @throws ArgumentError unless the value is a whole number from `least` on */
export function checkCount(op: string, name: string, value: unknown, least = 1): asserts value is number {
  if (!Number.isSafeInteger(value) || (value as number) < least) {
    throw new ArgumentError(`${op}: ${name} must be an integer of ${least} or more, got ${describe(value)}`);
  }
}

/** @throws ArgumentError unless the value is one of the words */
export function checkChoice(op: string, name: string, value: unknown, choices: readonly string[]): void {
  if (!choices.includes(value as string)) {
    const list = choices.map((choice) => `'${choice}'`).join(' or ');
    throw new ArgumentError(`${op}: ${name} must be ${list}, got ${describe(value)}`);
  }
}

/** @throws ArgumentError for sizes or a dtype that do not fit */
export function checkRows(op: string, { numKvHeads, headDim, valueDim, dtype }: KeyValueOptions): void {
  checkCount(op, 'numKvHeads', numKvHeads);
  checkCount(op, 'headDim', headDim);
  if (valueDim !== undefined) checkCount(op, 'valueDim', valueDim);
  if (dtype !== undefined) checkChoice(op, 'dtype', dtype, ['float32', 'float16']);
}

/** Storage that holds nothing yet, [blocks, Hkv, slots, …]; its owner outlives the scope that it is made in. */
export function makeStorage(
  op: string,
  device: Device,
  blocks: number,
  slots: number,
  rows: KeyValueOptions,
): CacheStorage {
  const { numKvHeads, headDim, valueDim = headDim, dtype = 'float32' } = rows;
  const storage = device.scope(() => ({
    keys: device.empty([blocks, numKvHeads, slots, headDim], dtype, op),
    values: device.empty([blocks, numKvHeads, slots, valueDim], dtype, op),
  }));
  device.keep(storage.keys);
  device.keep(storage.values);
  return storage;
}

export function disposeStorage({ keys, values }: CacheStorage): void {
  keys.dispose();
  values.dispose();
}

/**
 * Larger storage of the same blocks and rows, with the first `length` rows of every block copied into it; the old one is
 * given up. Work that was recorded before still reads that: it is used anew only by what is recorded later.
 */
export function moveRows(op: string, from: CacheStorage, to: CacheStorage, length: number): void {
  const { device } = from.keys;
  try {
    device.scope(() => {
      const [keys, values] = [from.keys, from.values].map((tensor) => tensor.slice(2, 0, length));
      append(op, keys, values, to, { kind: 'ring', position: 0, kept: to.keys.shape[2] });
    });
  } catch (error) {
    disposeStorage(to);
    throw error;
  }
  disposeStorage(from);
}
