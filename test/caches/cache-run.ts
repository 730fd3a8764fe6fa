/** Random keys and values for a cache, on the host and on the GPU, and what the cache's storage then ought to hold. */
import { f16round } from '@petamoriken/float16';
import type { Device, Tensor, RotaryTables as DeviceTables } from '../../src/index.ts';
import { type Float, type Layout, stored, upload } from '../ops/upload.ts';
import type { Random } from '../random.ts';
import { arrange, type RotaryTables, type Token } from '../reference/cache.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { tolerances } from '../reference/tolerances.ts';

export interface Sizes {
  readonly batch: number;
  readonly kvHeads: number;
  readonly dim: number;
  readonly valueDim: number;
}

/** New rows as `dtype` stores them. */
export function newRows(random: Random, { batch, kvHeads, dim, valueDim }: Sizes, length: number, dtype: Float) {
  const normals = (width: number): HostArray => {
    const shape = [batch, kvHeads, length, width];
    return stored({ shape, data: random.normals(shape) }, dtype);
  };
  return { k: normals(dim), v: normals(valueDim) };
}

/** A split projection has its heads inside its rows; the others begin at odd elements, or read backwards through axes. */
export const LAYOUTS: readonly Layout[] = [
  {},
  { axes: [0, 2, 1, 3] },
  { axes: [0, 2, 1, 3], before: [0, 1, 0, 3], after: [1, 0, 2, 1] },
  { axes: [3, 1, 0, 2], before: [0, 0, 1, 0] },
];

/** Appends on the GPU; nothing is left behind. */
export function appending(
  device: Device,
  { k, v }: { k: HostArray; v: HostArray },
  dtype: Float,
  append: (k: Tensor, v: Tensor) => void,
  layout: Layout = {},
): void {
  device.scope(() => append(upload(device, k, dtype, layout), upload(device, v, dtype, layout)));
}

/** Angles of `positions` positions, no two alike, for the first `dim` elements of a key. */
export function hostTables(positions: number, dim: number, interleaved: boolean): RotaryTables {
  const shape = [positions, dim / 2];
  const angle = (at: number) => (Math.floor(at / shape[1]) + 1) * 10 ** -((at % shape[1]) / shape[1]);
  const tableOf = (f: (x: number) => number): HostArray => ({
    shape,
    data: Float32Array.from({ length: positions * shape[1] }, (_, at) => f(angle(at))),
  });
  return { cos: tableOf(Math.cos), sin: tableOf(Math.sin), interleaved };
}

/** The tables on the GPU: halves of one tensor, so that they are strided. The caller disposes them. */
export function deviceTables(device: Device, { cos, sin, interleaved }: RotaryTables): Required<DeviceTables> {
  return device.scope(() => {
    const [positions, pairs] = cos.shape;
    const both = { shape: [positions, 2 * pairs], data: new Float32Array(2 * positions * pairs) };
    for (let at = 0; at < positions * pairs; at++) {
      const place = Math.floor(at / pairs) * 2 * pairs + (at % pairs);
      both.data[place] = cos.data[at];
      both.data[place + pairs] = sin.data[at];
    }
    const tables = upload(device, both, 'float32');
    return { cos: tables.slice(1, 0, pairs), sin: tables.slice(1, pairs), interleaved };
  });
}

/** Fills storage with zeros, so that a slot shows whether it was written. */
export function clear(device: Device, ...tensors: Tensor[]): void {
  for (const tensor of tensors) device.runtime.clear(tensor.storage('clear'));
}

/** The storage holds the tokens in these slots, and zeros where there is none; keys were rotated or not. */
export async function expectStorage(
  cache: { keys: Tensor; values: Tensor },
  slots: readonly (Token | undefined)[],
  { batch, kvHeads, dim, valueDim }: Sizes,
  { dtype, isRotated = false }: { dtype: Float; isRotated?: boolean },
): Promise<void> {
  const wanted = arrange(slots, [batch, kvHeads, dim, valueDim]);
  const [keys, values] = await Promise.all([cache.keys.data(), cache.values.data()]);
  const round = (data: Float64Array) => (dtype === 'float16' ? data.map(f16round) : data);
  if (isRotated) expectClose(keys, wanted.keys.data, tolerances[dtype].rotatedKey, 'rotated keys');
  else expectClose(keys, round(wanted.keys.data), tolerances.exact, 'keys');
  expectClose(values, round(wanted.values.data), tolerances.exact, 'values');
}

/** One batch entry, as a batch of one. */
export function entryOf({ shape: [batch, ...rest], data }: HostArray, b: number): HostArray {
  const size = data.length / batch;
  return { shape: [1, ...rest], data: Array.from({ length: size }, (_, i) => data[b * size + i]) };
}
