/** Writing new keys and values into the storage of a cache: for the caches, which keep count of what lies where. */
import { ArgumentError } from '../gpu/errors.ts';
import { pageTable, planAppend, type PagedRows, type Slots } from '../kernels/append.ts';
import { copyTable, planCopyPages, type PageCopy } from '../kernels/copy-pages.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkBoolean, checkFloat, checkSameDevice, checkTensor, describe } from '../ops/internal/check.ts';
import { enqueue, operandOf } from '../ops/internal/enqueue.ts';

export type { PagedRows };

/** The angles of a rotary position embedding; a `RotaryEmbedding` is one. */
export interface RotaryTables {
  /** float32 [P, R / 2]: cos and sin of position × frequency; R of a key's elements are rotated. Any strides. */
  readonly cos: Tensor;
  readonly sin: Tensor;
  /** Pairs are neighbours (2j, 2j + 1); default false: (j, j + R / 2). */
  readonly interleaved?: boolean;
}

/** Keys [blocks, Hkv, slots, D] and values [blocks, Hkv, slots, Dv] of one dtype, row-major. */
export interface CacheStorage {
  readonly keys: Tensor;
  readonly values: Tensor;
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
  { keys, values }: CacheStorage,
  rotary: RotaryTables | undefined,
): number {
  for (const [name, tensor, storage] of [
    ['key', k, keys],
    ['value', v, values],
  ] as const) {
    checkFloat(op, name, tensor);
    checkSameDevice(op, 'the cache', keys, name, tensor);
    const [, heads, , dim] = storage.shape;
    const fits = tensor.rank === 4 && [batch, heads, dim].every((length, i) => tensor.shape[[0, 1, 3][i]] === length);
    if (!fits) {
      throw new ArgumentError(
        `${op}: ${name} must have shape [${batch}, ${heads}, length, ${dim}], got ${formatShape(tensor.shape)}`,
      );
    }
    if ([keys, values].some((stored) => stored.storage(op) === tensor.storage(op))) {
      throw new ArgumentError(`${op}: ${name} must not be a view of the cache, got one`);
    }
  }
  if (v.dtype !== k.dtype) throw new ArgumentError(`${op}: value must have key's dtype ${k.dtype}, got ${v.dtype}`);
  if (v.shape[2] !== k.shape[2]) {
    throw new ArgumentError(`${op}: value length must equal key's ${k.shape[2]}, got ${v.shape[2]}`);
  }
  if (rotary !== undefined) checkRotary(op, keys, rotary);
  return k.shape[2];
}

/** @throws ArgumentError unless keys [.., D] can be rotated by the tables */
export function checkRotary(op: string, keys: Tensor, rotary: RotaryTables): void {
  if (rotary === null || typeof rotary !== 'object') {
    throw new ArgumentError(`${op}: rotary must be a RotaryEmbedding or tables { cos, sin }, got ${describe(rotary)}`);
  }
  const { cos, sin, interleaved } = rotary;
  for (const [name, table] of [
    ['rotary.cos', cos],
    ['rotary.sin', sin],
  ] as const) {
    checkTensor(op, name, table);
    checkSameDevice(op, 'the cache', keys, name, table);
    if (table.dtype !== 'float32' || table.rank !== 2) {
      throw new ArgumentError(`${op}: ${name} must be float32 of two axes, got ${describe(table)}`);
    }
  }
  checkBoolean(op, 'rotary.interleaved', interleaved);
  if (formatShape(sin.shape) !== formatShape(cos.shape)) {
    throw new ArgumentError(`${op}: rotary.sin must have cos's shape ${formatShape(cos.shape)}, got ${describe(sin)}`);
  }
  const headDim = keys.shape.at(-1)!;
  if (2 * cos.shape[1] > headDim) {
    throw new ArgumentError(
      `${op}: rotary.cos must have at most ${Math.floor(headDim / 2)} columns, half the headDim, got ${cos.shape[1]}`,
    );
  }
}

/** @throws ArgumentError unless the tables reach to the position before `end` */
export function checkPositions(op: string, rotary: RotaryTables | undefined, end: number): void {
  if (rotary && end > rotary.cos.shape[0]) {
    throw new ArgumentError(`${op}: rotary must have tables of at least ${end} positions, got ${rotary.cos.shape[0]}`);
  }
}

/** Writes checked rows: one dispatch. `table` is for slots that are paged. */
export function append(
  op: string,
  k: Tensor,
  v: Tensor,
  { keys, values }: CacheStorage,
  slots: Slots,
  options: { rotary?: RotaryTables; table?: Tensor } = {},
): void {
  const { rotary, table } = options;
  const [, kvHeads, slotsPerBlock, keyDim] = keys.shape;
  const problem = {
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
    slotsPerBlock,
    slots,
    rotary: rotary && {
      dim: 2 * rotary.cos.shape[1],
      interleaved: rotary.interleaved ?? false,
      cos: operandOf(rotary.cos),
      sin: operandOf(rotary.sin),
    },
  };
  enqueue(op, planAppend(problem, keys.device.traits), {
    k,
    v,
    cos_table: rotary?.cos,
    sin_table: rotary?.sin,
    table,
    keys,
    values,
  });
}

/**
 * Makes the copies of pages, then writes checked rows into pages: one dispatch each, and one upload of what both have to
 * know.
 */
export function appendPaged(
  op: string,
  k: Tensor,
  v: Tensor,
  storage: CacheStorage,
  { entries, copies }: { entries: readonly PagedRows[]; copies: readonly PageCopy[] },
  rotary: RotaryTables | undefined,
): void {
  const { keys, values } = storage;
  const { device } = keys;
  const [, kvHeads, pageSize, keyDim] = keys.shape;
  const copied = copyTable(copies);
  const { words, row } = pageTable(entries);
  device.scope(() => {
    const table = device.words([...copied, ...words], op);
    if (copies.length > 0) {
      const dtype = keys.dtype as FloatDType;
      const problem = { op, copies: copies.length, kvHeads, pageSize, keyDim, valueDim: values.shape[3], dtype };
      enqueue(op, planCopyPages(problem, device.traits), { table, keys, values });
    }
    append(op, k, v, storage, { kind: 'paged', tableOffset: copied.length, tableRow: row }, { rotary, table });
  });
}
