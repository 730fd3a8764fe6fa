/** The cases that are measured, as data. */
import { flopsOf, largestTensor } from './cost.ts';
import type { AttentionOpName, BenchCase } from './result.ts';

/** `flashAttention 1x8x1024x64 causal float32`: the op, its shape, its unusual options, its dtype. */
export function caseName(bench: BenchCase): string {
  const { op, shape, dtype, causal, window, mask, keyLength, keyLengths, kvHeads, heads } = bench;
  const { softcap, alibi, sinks, via, parts } = bench;
  return [
    op,
    shape.join('x'),
    heads !== undefined && `heads=${heads}`,
    kvHeads !== undefined && `kv-heads=${kvHeads}`,
    keyLength !== undefined && `keys=${keyLength}`,
    keyLengths && `key-lengths=${keyLengths.join(',')}`,
    parts !== undefined && `parts=${parts}`,
    window !== undefined && `window=${window}`,
    causal && 'causal',
    mask && `${mask}-mask`,
    softcap !== undefined && `softcap=${softcap}`,
    alibi && 'alibi',
    sinks && 'sinks',
    via,
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
/** One query against many keys. */
const decode = (keyLength: number, rest?: Rest) => flash([1, 8, 1, 64], { ...rest, keyLength });
const cached = (op: 'attend' | 'append', keyLength: number, rest?: Rest) =>
  (['KeyValueCache', 'PagedKeyValueCache'] as const).map((cache) =>
    of(`${cache}.${op}`, [1, 8, 1, 64], { ...rest, keyLength }),
  );
const materialised = (shape: readonly number[], rest?: Rest) => of('scaledDotProductAttention', shape, rest);

/** A forward and a backward pass. */
const train = (op: AttentionOpName, shape: readonly number[], rest?: Rest) => of(`${op}.train`, shape, rest);

const CAUSAL = { causal: true } as const;
const HALF = { dtype: 'float16' } as const;
const BAND = { causal: true, window: 256 } as const;

/** The most telling cases: they take under three minutes on a software driver with two cores. */
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
  flash([1, 8, 2048, 64], { window: 64 }),
  flash([1, 8, 2048, 64], { ...BAND, via: 'block-mask' }),
  // each option beside the modifier that reproduces it
  flash([1, 8, 1024, 64], { softcap: 20 }),
  flash([1, 8, 1024, 64], { softcap: 20, via: 'score-mod' }),
  flash([1, 8, 1024, 64], { alibi: true }),
  flash([1, 8, 1024, 64], { alibi: true, via: 'score-mod' }),
  decode(4096),
  decode(16384),
  decode(4096, { kvHeads: 1 }),
  ...cached('attend', 4096),
  local([1, 8, 1024, 64], 64),
  local([1, 8, 4096, 64], 64),
  local([1, 8, 8192, 64], 64),
  ...[512, 1024].map((length) => train('scaledDotProductAttention', [1, 8, length, 64])),
  ...[512, 1024, 2048].map((length) => train('flashAttention', [1, 8, length, 64])),
  train('flashAttention', [1, 8, 1024, 64], CAUSAL),
  ...[1024, 4096].map((length) => train('localAttention', [1, 8, length, 64], { window: 64 })),
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
  flash([1, 8, 1024, 64], { kvHeads: 1 }),
  flash([1, 8, 2048, 64], BAND),
  flash([1, 8, 2048, 64], { ...BAND, via: 'mask-mod' }),
  flash([1, 8, 2048, 64], { ...CAUSAL, via: 'block-mask' }),
  flash([1, 8, 1024, 64], { sinks: true }),
  flash([4, 8, 1024, 64], { keyLengths: [256, 512, 768, 1024] }),
  of('mergeAttention', [1, 8, 1024, 64], { parts: 4 }),

  ...[512, 1024, 2048, 8192, 32768].map((length) => decode(length)),
  ...[1024, 4096, 16384, 32768].map((length) => decode(length, HALF)),
  decode(4096, { ...HALF, kvHeads: 1 }),
  ...[512, 1024, 2048, 8192, 16384, 32768].flatMap((length) => cached('attend', length)),
  ...[1024, 4096, 16384].flatMap((length) => cached('attend', length, HALF)),
  ...cached('append', 4096),
  ...cached('append', 4096, HALF),

  ...[2048, 16384].map((length) => local([1, 8, length, 64], 64)),
  ...[16, 256].map((window) => local([1, 8, 4096, 64], window)),
  local([1, 8, 4096, 64], 64, CAUSAL),
  local([1, 8, 4096, 64], 64, HALF),
  local([1, 8, 4096, 128], 64),

  ...[256, 2048, 4096].map((length) => train('scaledDotProductAttention', [1, 8, length, 64])),
  train('scaledDotProductAttention', [1, 8, 1024, 64], CAUSAL),
  train('scaledDotProductAttention', [1, 8, 1024, 64], HALF),
  ...[256, 4096].map((length) => train('flashAttention', [1, 8, length, 64])),
  ...[512, 2048, 4096].map((length) => train('flashAttention', [1, 8, length, 64], CAUSAL)),
  ...[1024, 4096].map((length) => train('flashAttention', [1, 8, length, 64], HALF)),
  ...[32, 128].map((headDim) => train('flashAttention', [1, 8, 1024, headDim])),
  train('flashAttention', [1, 8, 1024, 64], { kvHeads: 2 }),
  train('flashAttention', [1, 8, 1024, 64], { mask: 'bool' }),
  train('flashAttention', [1, 8, 2048, 64], BAND),
  ...[2048, 8192, 16384].map((length) => train('localAttention', [1, 8, length, 64], { window: 64 })),

  of('SelfAttention', [1, 512, 512], { ...HALF, heads: 8 }),
  of('SelfAttention', [1, 512, 512], { ...CAUSAL, heads: 8 }),
  of('SelfAttention', [4, 1024, 1024], { heads: 16 }),
  of('MultiHeadAttention', [1, 512, 512], { heads: 8 }),
  of('MultiHeadAttention', [4, 128, 768], { heads: 12 }),
  of('CrossAttention', [1, 512, 512], { heads: 8 }),
  of('CrossAttention', [1, 1024, 512], { heads: 8, keyLength: 77 }),
  of('LocalAttention', [1, 2048, 512], { heads: 8, window: 32 }),
];

/** The limit for a case on a CPU driver, so that all cases together take minutes rather than hours. */
const MOST_FLOPS_IN_SOFTWARE = 10e9;

/** All cases whose tensors fit the device's bindings and that, on a CPU driver, take at most a few seconds a run. */
export function fullSet(device: { isSoftware: boolean; maxStorageBufferBindingSize: number }): readonly BenchCase[] {
  const fits = (bench: BenchCase) =>
    largestTensor(bench) <= device.maxStorageBufferBindingSize &&
    (!device.isSoftware || flopsOf(bench) <= MOST_FLOPS_IN_SOFTWARE);
  return [...QUICK, ...MORE.filter(fits)];
}
