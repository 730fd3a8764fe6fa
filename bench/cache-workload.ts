/** Cases of the caches: appending to them, and attention that reads them. */
import { KeyValueCache, PagedKeyValueCache } from '../src/index.ts';
import type { AttendOptions, AttentionResult, Device, Tensor } from '../src/index.ts';
import { uniform } from '../src/tensor/random.ts';
import { attentionInputs } from './attention-workload.ts';
import { attentionSizes } from './cost.ts';
import { rowOf, type Inputs } from './inputs.ts';
import type { BenchCase } from './result.ts';
import type { Workload } from './workload.ts';

/** What the two caches share. */
interface Cache {
  /** Keys of each sequence. */
  length(): number;
  append(k: Tensor, v: Tensor): void;
  attend(q: Tensor, options: AttendOptions): AttentionResult;
  /** A view of the first sequence's last key, [1, Hkv, 1, D]. */
  lastKey(): Tensor;
  reset(): void;
}

export async function prepareAttend(inputs: Inputs, bench: BenchCase): Promise<Workload> {
  const { q, k, v, options, expected } = await attentionInputs(inputs, bench);
  const cache = cacheOf(inputs, bench);
  cache.append(k, v);
  return {
    run: () => [cache.attend(q, options).output],
    expected: (row) => ({ row: expected(row) }),
    dispose: () => inputs.dispose(),
  };
}

/** The result is the last key, read from the cache; the cases of `attend` check the rest. */
export async function prepareAppend(inputs: Inputs, bench: BenchCase): Promise<Workload> {
  const { keyLength, queryLength, headDim } = attentionSizes(bench);
  const [k, v] = [await inputs.normal(bench.shape), await inputs.normal(bench.shape)];
  const cache = cacheOf(inputs, bench);
  return {
    run() {
      if (cache.length() + queryLength > keyLength) cache.reset();
      cache.append(k.tensor, v.tensor);
      return [cache.lastKey()];
    },
    expected: (head) => ({ row: Float64Array.from(rowOf(k.host, (head + 1) * queryLength - 1, headDim)) }),
    dispose: () => inputs.dispose(),
  };
}

function cacheOf(inputs: Inputs, bench: BenchCase): Cache {
  const { batch, kvHeads, headDim, keyLength } = attentionSizes(bench);
  const rows = { numKvHeads: kvHeads, headDim, dtype: bench.dtype };
  const isPaged = bench.op.startsWith('Paged');
  return isPaged ? pagedCache(inputs, batch, keyLength, rows) : contiguousCache(inputs, batch, keyLength, rows);
}

interface Rows {
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly dtype: BenchCase['dtype'];
}

function contiguousCache(inputs: Inputs, batch: number, capacity: number, rows: Rows): Cache {
  const cache = inputs.own(new KeyValueCache(inputs.device, { ...rows, batch, capacity }));
  return {
    length: () => cache.length,
    append: (k, v) => cache.append(k, v),
    attend: (q, options) => cache.attend(q, options),
    lastKey: () => keyAt(cache.keys, 0, cache.length - 1),
    reset: () => cache.reset(),
  };
}

/** Keys of a page, a common choice. */
const PAGE_SIZE = 32;

function pagedCache(inputs: Inputs, batch: number, capacity: number, rows: Rows): Cache {
  const numPages = batch * Math.ceil(capacity / PAGE_SIZE);
  const cache = inputs.own(new PagedKeyValueCache(inputs.device, { ...rows, numPages, pageSize: PAGE_SIZE }));
  scatterPages(inputs.device, cache, rows);
  const add = () => Array.from({ length: batch }, () => cache.add());
  let ids = add();
  return {
    length: () => cache.length(ids[0]),
    append: (k, v) => cache.append(ids, k, v),
    attend: (q, options) => cache.attend(ids, q, options),
    lastKey() {
      const last = cache.length(ids[0]) - 1;
      return keyAt(cache.keys, cache.pages(ids[0])[Math.floor(last / PAGE_SIZE)], last % PAGE_SIZE);
    },
    reset() {
      for (const id of ids) cache.free(id);
      ids = add();
    },
  };
}

/** Leaves the free pages in random order, as after many sequences have come and gone. */
function scatterPages(device: Device, cache: PagedKeyValueCache, { numKvHeads, headDim }: Rows): void {
  const ids = Array.from({ length: cache.numPages }, () => cache.add());
  device.scope(() => {
    const key = device.zeros([1, numKvHeads, 1, headDim]).expand([ids.length, numKvHeads, 1, headDim]);
    cache.append(ids, key, key);
  });
  const next = uniform(1);
  const places = new Map(ids.map((id) => [id, next()]));
  for (const id of ids.toSorted((a, b) => places.get(a)! - places.get(b)!)) cache.free(id);
}

function keyAt(keys: Tensor, block: number, slot: number): Tensor {
  using rows = keys.slice(0, block, block + 1);
  return rows.slice(2, slot, slot + 1);
}
