/** What is measured, as data. */
import { flopsOf, largestTensor } from './cost.ts';
import type { BenchCase } from './result.ts';

/** `flashAttention 1x8x1024x64 causal float32`: the op, the shape, what is not usual, the dtype. */
export function caseName({ op, shape, dtype, causal, window, mask, keyLength, kvHeads, heads }: BenchCase): string {
  return [
    op,
    shape.join('x'),
    heads !== undefined && `heads=${heads}`,
    kvHeads !== undefined && `kv-heads=${kvHeads}`,
    keyLength !== undefined && `keys=${keyLength}`,
    window !== undefined && `window=${window}`,
    causal && 'causal',
    mask && `${mask}-mask`,
    dtype,
  ]
    .filter(Boolean)
    .join(' ');
}

type Rest = Partial<Omit<BenchCase, 'op' | 'shape'>>;

function of(op: BenchCase['op'], shape: readonly number[], rest: Rest = {}): BenchCase {
  return { op, shape, dtype: 'float32', causal: false, ...rest };
}

const flash = (shape: readonly number[], rest?: Rest) => of('flashAttention', shape, rest);
const local = (shape: readonly number[], window: number, rest?: Rest) =>
  of('localAttention', shape, { ...rest, window });
const materialised = (shape: readonly number[], rest?: Rest) => of('scaledDotProductAttention', shape, rest);

const CAUSAL = { causal: true } as const;
const HALF = { dtype: 'float16' } as const;

/** The ones that say most: under three minutes on a software driver with two cores. */
export const QUICK: readonly BenchCase[] = [
  of('matmul', [1, 1024, 1024, 1024]),
  of('matmul', [1, 16, 2048, 2048]),
  of('matmul', [8, 512, 512, 64]),
  of('softmax', [1, 8, 1024, 1024]),
  materialised([1, 8, 512, 64]),
  materialised([1, 8, 1024, 64]),
  flash([1, 8, 512, 64]),
  flash([1, 8, 1024, 64]),
  flash([1, 8, 2048, 64]),
  flash([1, 8, 4096, 64]),
  flash([1, 8, 1024, 64], CAUSAL),
  flash([1, 8, 2048, 64], CAUSAL),
  flash([1, 8, 1024, 64], { mask: 'bool' }),
  flash([1, 8, 1024, 64], HALF),
  flash([1, 8, 1, 64], { keyLength: 4096 }),
  local([1, 8, 1024, 64], 64),
  local([1, 8, 4096, 64], 64),
  local([1, 8, 8192, 64], 64),
  of('SelfAttention', [1, 512, 512], { heads: 8 }),
  of('LocalAttention', [1, 512, 512], { heads: 8, window: 32 }),
];

const MORE: readonly BenchCase[] = [
  ...[256, 512, 2048, 4096].map((size) => of('matmul', [1, size, size, size])),
  ...[1024, 4096].map((size) => of('matmul', [1, size, size, size], HALF)),
  of('matmul', [1, 1, 4096, 4096]),
  of('matmul', [1, 1, 4096, 4096], HALF),
  of('matmul', [1, 4096, 16, 2048]),
  of('matmul', [1, 1000, 1000, 1000]),
  of('matmul', [64, 1024, 1024, 64]),
  of('matmul', [64, 1024, 64, 1024]),

  of('softmax', [1, 8, 1024, 1024], CAUSAL),
  of('softmax', [1, 8, 1024, 1024], HALF),
  of('softmax', [1, 8, 4096, 4096]),
  of('softmax', [1, 8, 4096, 128]),

  ...[2048, 4096, 8192].map((length) => materialised([1, 8, length, 64])),
  materialised([1, 8, 1024, 64], CAUSAL),
  materialised([1, 8, 1024, 64], HALF),
  materialised([1, 8, 1024, 64], { mask: 'bool' }),

  ...[8192, 16384].map((length) => flash([1, 8, length, 64])),
  ...[512, 2048, 4096, 8192, 16384].map((length) => flash([1, 8, length, 64], HALF)),
  ...[512, 4096, 8192, 16384].map((length) => flash([1, 8, length, 64], CAUSAL)),
  ...[32, 80, 128, 256].map((headDim) => flash([1, 8, 1024, headDim])),
  ...[32, 80, 128, 256].map((headDim) => flash([1, 8, 1024, headDim], HALF)),
  ...[1024, 4096].map((length) => flash([1, 16, length, 128])),
  ...[1024, 4096].map((length) => flash([1, 16, length, 128], HALF)),
  flash([1, 16, 4096, 128], { ...HALF, ...CAUSAL }),
  flash([4, 8, 1024, 64]),
  flash([1, 8, 1000, 64]),
  flash([1, 8, 1024, 64], { mask: 'float' }),
  flash([2, 8, 1024, 64], { mask: 'key' }),
  flash([1, 8, 1024, 64], { ...HALF, mask: 'bool' }),
  flash([1, 32, 512, 64], { kvHeads: 8 }),
  flash([1, 32, 2048, 128], { ...HALF, kvHeads: 8 }),
  flash([1, 32, 1, 128], { ...HALF, keyLength: 8192, kvHeads: 8 }),
  flash([1, 8, 128, 64], { keyLength: 4096 }),

  ...[2048, 16384].map((length) => local([1, 8, length, 64], 64)),
  ...[16, 256].map((window) => local([1, 8, 4096, 64], window)),
  local([1, 8, 4096, 64], 64, CAUSAL),
  local([1, 8, 4096, 64], 64, HALF),
  local([1, 8, 4096, 128], 64),

  of('SelfAttention', [1, 512, 512], { ...HALF, heads: 8 }),
  of('SelfAttention', [1, 512, 512], { ...CAUSAL, heads: 8 }),
  of('SelfAttention', [4, 1024, 1024], { heads: 16 }),
  of('MultiHeadAttention', [1, 512, 512], { heads: 8 }),
  of('MultiHeadAttention', [4, 128, 768], { heads: 12 }),
  of('CrossAttention', [1, 512, 512], { heads: 8 }),
  of('CrossAttention', [1, 1024, 512], { heads: 8, keyLength: 77 }),
  of('LocalAttention', [1, 2048, 512], { heads: 8, window: 32 }),
];

/** What a case may ask for on a CPU driver, so that all of them take minutes rather than hours. */
const MOST_FLOPS_IN_SOFTWARE = 10e9;

/** All cases that fit the device: its bindings, and on a CPU driver a few seconds a run. */
export function fullSet(device: { isSoftware: boolean; maxStorageBufferBindingSize: number }): readonly BenchCase[] {
  const fits = (bench: BenchCase) =>
    largestTensor(bench) <= device.maxStorageBufferBindingSize &&
    (!device.isSoftware || flopsOf(bench) <= MOST_FLOPS_IN_SOFTWARE);
  return [...QUICK, ...MORE.filter(fits)];
}
