/** Made-up results for tests of the report: plausible numbers, measured nowhere. */
import { caseName } from '../../bench/cases.ts';
import { bytesOf, flopsOf, roofOf } from '../../bench/cost.ts';
import {
  FORMAT,
  type BenchCase,
  type BenchResult,
  type CaseResult,
  type OpName,
  type PeerEntry,
  type Timing,
} from '../../bench/result.ts';

const ROOF = { f32Gflops: 85.2, f16Gflops: 46.7, copyGBs: 7.3, dispatchUs: 18.4, passUs: 17.9, submitUs: 93.1 };

function timing(median: number): Timing {
  return { median, min: 0.95 * median, max: 1.2 * median, low: 0.96 * median, high: 1.04 * median, runs: 15 };
}

/** Matrices of the scores' size that an op keeps beyond its inputs and outputs. */
const EXTRA_MATRICES: Partial<Record<OpName, number>> = {
  scaledDotProductAttention: 2,
  'scaledDotProductAttention.train': 3,
};

type Change = Partial<BenchCase> & { readonly gflops?: number };

function made(
  op: OpName,
  shape: readonly number[],
  typical: number,
  { gflops = typical, ...change }: Change,
): CaseResult {
  const bench: BenchCase = { op, shape, dtype: 'float32', causal: false, ...change };
  const flops = flopsOf(bench);
  const bytes = bytesOf(bench);
  const least = flops > 0 ? flops / roofOf(ROOF, bench.dtype, flops / bytes) : bytes / ROOF.copyGBs;
  const milliseconds = Math.max(flops / gflops, least / 0.8) / 1e6;
  const isHalf = bench.dtype === 'float16';
  const [, heads, length] = shape;
  return {
    ...bench,
    name: caseName(bench),
    kernel: op === 'localAttention' ? 'tile-16x32' : 'subgroup',
    gpu: timing(milliseconds),
    wall: timing(milliseconds + 0.15),
    error: isHalf ? 4.1e-4 : 3.2e-7,
    tolerance: isHalf ? 2e-3 : 1e-4,
    flops,
    bytes,
    gflops: flops / milliseconds / 1e6,
    gbs: bytes / milliseconds / 1e6,
    roofShare: least / milliseconds / 1e6,
    extraBytes: (EXTRA_MATRICES[op] ?? 0) * 4 * heads * length * length,
  };
}

/** Short problems reach less. */
function warmth(size: number): number {
  return 1 - 40 / (size + 60);
}

export const matmulCase = (shape: readonly number[], change: Change = {}): CaseResult =>
  made('matmul', shape, 22.5 * warmth(Math.min(...shape.slice(1))), change);

const softmaxCase = (shape: readonly number[]): CaseResult => made('softmax', shape, 3.1, {});

function attention(op: OpName, typical: number) {
  return (length: number, { headDim = 64, ...change }: Change & { readonly headDim?: number } = {}): CaseResult =>
    made(op, [1, 8, length, headDim], typical * warmth(length) * (change.causal ? 0.87 : 1), change);
}

export const materialisedCase = attention('scaledDotProductAttention', 7.2);
export const flashCase = attention('flashAttention', 19.4);
export const decodeCase = (keyLength: number, change: Change = {}): CaseResult =>
  made('flashAttention', [1, 8, 1, 64], 2.9 * warmth(keyLength), { keyLength, ...change });
export const localCase = attention('localAttention', 11.8);
export const trainingCases = [
  attention('scaledDotProductAttention.train', 6.4),
  attention('flashAttention.train', 15.2),
] as const;

const moduleCase = (op: OpName): CaseResult => made(op, [1, 512, 512], 15.4, { heads: 8 });

function peerEntry(library: string, version: string, median: number, change: Partial<PeerEntry> = {}): PeerEntry {
  return { library, version, isWebGpu: true, timing: timing(median), error: 2.4e-6, isRight: true, ...change };
}

const ours = (median: number) => peerEntry('webgpu-attention', '0.1.0', median);
const initialised = (median: number) => peerEntry('onnxruntime-web (initialised)', '1.26.0', median);
const onCpu = (median: number) => peerEntry('onnxruntime-node (CPU)', '1.26.0', median, { isWebGpu: false });

const FAILED = { timing: undefined, error: undefined, isRight: undefined } as const;

/** Two cases, no peers. */
export const small: BenchResult = {
  format: FORMAT,
  date: '2026-05-04T09:30:00.000Z',
  versions: { package: '0.1.0', runtime: 'node 20.20.2', webgpu: 'webgpu 0.6.2' },
  device: {
    name: 'llvmpipe (LLVM 15.0.6, 256 bits)',
    vendor: 'mesa',
    architecture: '',
    description: 'Mesa 25.0.7 (LLVM 15.0.6)',
    driver: 'lavapipe',
    isSoftware: true,
  },
  host: { platform: 'linux-x64', cpu: 'Example CPU @ 2.80GHz', cores: 2 },
  roof: ROOF,
  cases: [flashCase(1024), matmulCase([1, 1024, 1024, 1024])],
};

const CAUSAL = { causal: true } as const;
const HALF = { dtype: 'float16' } as const;
const LENGTHS = [256, 512, 1024, 2048, 4096, 8192];

/** More than sixty cases, with peers: right, wrong, failed and on the CPU. */
export const full: BenchResult = {
  ...small,
  cases: [
    ...[128, 256, 512, 1024, 2048].map((size) => matmulCase([1, size, size, size])),
    ...[
      [1, 1, 4096, 1024],
      [1, 16, 1024, 1024],
      [1, 4096, 64, 1024],
      [8, 512, 512, 64],
    ].map((shape) => matmulCase(shape)),
    matmulCase([1, 1024, 1024, 1024], HALF),
    ...[
      [1, 8, 1024, 1024],
      [1, 8, 128, 128],
      [1, 8, 4096, 128],
    ].map(softmaxCase),
    ...LENGTHS.slice(0, 5).flatMap((length) => [materialisedCase(length), materialisedCase(length, CAUSAL)]),
    ...LENGTHS.flatMap((length) => [flashCase(length), flashCase(length, CAUSAL)]),
    ...LENGTHS.slice(1).map((length) => localCase(length, { window: 64 })),
    ...LENGTHS.slice(3).map((length) => localCase(length, { window: 256 })),
    ...[512, 1024, 2048].flatMap((length) => [materialisedCase(length, HALF), flashCase(length, HALF)]),
    ...[1024, 2048].map((length) => localCase(length, { window: 64, ...HALF })),
    ...[32, 96, 128, 256].map((headDim) => flashCase(1024, { headDim })),
    ...(['bool', 'float', 'key'] as const).map((mask) => flashCase(1024, { mask, gflops: 15 })),
    flashCase(1000),
    ...[512, 2048, 4096, 8192, 32768].flatMap((length) => [
      decodeCase(length),
      decodeCase(length, { op: 'KeyValueCache.attend', gflops: 2.8 }),
      decodeCase(length, { op: 'PagedKeyValueCache.attend', gflops: 2.1 }),
    ]),
    decodeCase(4096, { kvHeads: 1 }),
    decodeCase(4096, { ...HALF, op: 'PagedKeyValueCache.attend' }),
    decodeCase(4096, { op: 'KeyValueCache.append' }),
    flashCase(2048, { ...CAUSAL, window: 256, via: 'block-mask' }),
    flashCase(1024, { softcap: 20 }),
    flashCase(1024, { softcap: 20, via: 'score-mod' }),
    flashCase(1024, { alibi: true, via: 'score-mod' }),
    ...LENGTHS.slice(1, 5).flatMap((length) => trainingCases.map((trained) => trained(length))),
    ...[1024, 4096].map((length) => trainingCases[1](length, { ...CAUSAL })),
    ...[1024, 4096].map((length) => made('localAttention.train', [1, 8, length, 64], 9.1, { window: 64 })),
    made('mergeAttention', [1, 8, 1024, 64], 1.1, { parts: 4 }),
    flashCase(2048, { kvHeads: 2 }),
    ...(['SelfAttention', 'MultiHeadAttention', 'CrossAttention', 'LocalAttention'] as const).map(moduleCase),
  ],
  peers: {
    date: '2026-05-05T10:10:00.000Z',
    rows: [
      {
        name: 'flash 8×1024×64',
        entries: [
          ours(110),
          initialised(203),
          peerEntry('onnxruntime-web', '1.26.0', 98, { error: 0.031, isRight: false }),
          peerEntry('tfjs-backend-webgpu', '4.22.0', 786),
          peerEntry('@jax-js/jax', '0.1.25', 947),
          onCpu(30),
        ],
      },
      {
        name: 'flash 8×1024×64 causal',
        entries: [
          ours(55.3),
          initialised(120),
          peerEntry('@jax-js/jax', '0.1.25', 0, { ...FAILED, failure: 'It has no causal option on WebGPU.' }),
          onCpu(141),
        ],
      },
      {
        name: 'matmul 1024³',
        entries: [ours(92.4), initialised(519), peerEntry('tfjs-backend-webgpu', '4.22.0', 482), onCpu(25)],
      },
      { name: 'decode 1→4096', entries: [ours(21), peerEntry('@jax-js/jax', '0.1.25', 14)] },
    ],
  },
};
