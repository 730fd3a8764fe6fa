/** The problems that are measured: one for each choice that ops look up, but for localAttention of few queries. */
import { matmulKey, matmulVariants, chooseMatmul } from '../kernels/matmul.ts';
import { VALUE_DIM_BUCKETS } from '../kernels/attention.ts';
import { formatKey, NO_CHOICES, type ChoiceKey, type Variant } from '../kernels/choice.ts';
import { attentionKey, attentionVariants, chooseAttention, DEFAULT_BLOCK_SIZE } from '../kernels/attention.ts';
import { chooseAttentionGradient, gradientKey, gradientVariants } from '../kernels/attention-gradient.ts';
import { flashAttention } from '../ops/attention/fused-attention.ts';
import { localAttention } from '../ops/attention/fused-attention.ts';
import { matmul } from '../ops/matmul.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Traits } from '../tensor/traits.ts';
import type { TunableOp, TuneOptions } from '../tensor/tuning.ts';

export interface TuningProblem {
  readonly op: TunableOp;
  readonly dtype: FloatDType;
  readonly sizeClass: string | number;
  /** The key under which ops look up the choice. */
  readonly key: string;
  /** Names of the kernels that can compute it: the default, a tile that suits every device, then the others. */
  readonly kernels: readonly string[];
  readonly inputs: readonly Shape[];
  readonly run: (inputs: readonly Tensor[]) => readonly Tensor[];
  /** Whether only few rows share their keys. */
  readonly isDecoding?: boolean;
}

export const TUNABLE_OPS: readonly TunableOp[] = ['flashAttention', 'localAttention', 'matmul', 'attentionGradient'];
/** The largest head dim that is measured. Larger ones take what was chosen for it. */
export const MOST_HEAD_DIM = VALUE_DIM_BUCKETS.at(-1)!;
export const FLOAT_DTYPES: readonly FloatDType[] = ['float32', 'float16'];

export interface AttentionSizes {
  readonly heads: number;
  readonly length: number;
  readonly headDim: number;
  /** Keys to either side; of local attention. */
  readonly window: number;
}

export interface MatmulSizes {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
}

export function attentionProblem(
  op: 'flashAttention' | 'localAttention',
  dtype: FloatDType,
  { heads, length, headDim, window }: AttentionSizes,
  traits: Traits,
): TuningProblem {
  const size = { kernelsOf: op, dtype, headDim, valueDim: headDim };
  const key = attentionKey(size);
  const shape = [1, heads, length, headDim];
  return {
    ...described(op, key, dtype),
    kernels: namesOf(
      chooseAttention(size, traits, NO_CHOICES).variant,
      chooseAttention(size, traits, NO_CHOICES, DEFAULT_BLOCK_SIZE).variant,
      ...attentionVariants(size, traits),
    ),
    inputs: [shape, shape, shape],
    run:
      op === 'flashAttention'
        ? ([q, k, v]) => [flashAttention(q, k, v).output]
        : ([q, k, v]) => [localAttention(q, k, v, { window: { left: window, right: window } }).output],
  };
}

/** What a problem says of the choice that it is measured for. */
function described(op: TunableOp, key: ChoiceKey, dtype: FloatDType) {
  return { op, dtype, sizeClass: key.sizeClass, key: formatKey(key) };
}

/** Query heads that share a key head. */
const GROUP = 4;
/** Kernels whose workgroups have more rows would leave most of them empty. */
const MOST_DECODING_ROWS = 16;

/** One query for each of four query heads that share each of `heads` key heads. */
export function decodingProblem(
  dtype: FloatDType,
  { heads, length, headDim }: Omit<AttentionSizes, 'window'>,
  traits: Traits,
): TuningProblem {
  const op = 'flashAttention';
  const size = { kernelsOf: op, dtype, headDim, valueDim: headDim, rows: GROUP } as const;
  const key = attentionKey(size);
  const keys = [1, heads, length, headDim];
  return {
    ...described(op, key, dtype),
    kernels: namesOf(
      chooseAttention(size, traits, NO_CHOICES).variant,
      ...attentionVariants(size, traits).filter(({ blockQ }) => blockQ <= MOST_DECODING_ROWS),
    ),
    isDecoding: true,
    inputs: [[1, GROUP * heads, 1, headDim], keys, keys],
    run: ([q, k, v]) => [flashAttention(q, k, v).output],
  };
}

/** A forward and a backward pass, as in a training step. The gradient's share is two thirds or more. */
export function gradientProblem(
  dtype: FloatDType,
  { heads, length, headDim }: Omit<AttentionSizes, 'window'>,
  traits: Traits,
): TuningProblem {
  const size = { kernelsOf: 'flashAttention', dtype, headDim, valueDim: headDim } as const;
  const key = gradientKey(size);
  const variants = (['query', 'key'] as const).flatMap((side) => gradientVariants(size, side, traits));
  const shape = [1, heads, length, headDim];
  return {
    ...described('attentionGradient', key, dtype),
    kernels: namesOf(
      chooseAttentionGradient(size, 'query', traits).variant,
      ...variants.filter(({ family }) => family === 'tile'),
      ...variants,
    ),
    inputs: [shape, shape, shape, shape],
    run([q, k, v, dOutput]) {
      const leaves = [q, k, v].map((tensor) => {
        const leaf = tensor.detach();
        leaf.requiresGrad = true;
        return leaf;
      });
      flashAttention(leaves[0], leaves[1], leaves[2]).output.backward(dOutput);
      return leaves.map((leaf) => leaf.grad!.detach());
    },
  };
}

export function matmulProblem(dtype: FloatDType, { rows, columns, depth }: MatmulSizes, traits: Traits): TuningProblem {
  const size = { batchShape: [], rows, columns, aDType: dtype };
  const key = matmulKey(size);
  return {
    ...described('matmul', key, dtype),
    kernels: namesOf(
      chooseMatmul(size, traits, NO_CHOICES).variant,
      chooseMatmul(size, { ...traits, isSoftware: false }, NO_CHOICES).variant,
      ...matmulVariants(size, traits),
    ),
    inputs: [
      [rows, depth],
      [depth, columns],
    ],
    run: ([a, b]) => [matmul(a, b)],
  };
}

function namesOf(...variants: readonly Variant[]): string[] {
  return [...new Set(variants.map(({ name }) => name))];
}

/** Sizes that take milliseconds on a current GPU or CPU, and at which kernels compare as they do at larger sizes. */
const SIZES = {
  gpu: {
    modelDim: 1024,
    flashLength: 2048,
    localLength: 4096,
    decodingLength: 8192,
    matmul: [
      { rows: 16, columns: 4096, depth: 1024 },
      { rows: 512, columns: 1024, depth: 1024 },
      { rows: 2048, columns: 2048, depth: 1024 },
    ],
  },
  cpu: {
    modelDim: 256,
    flashLength: 256,
    localLength: 512,
    decodingLength: 512,
    matmul: [
      { rows: 16, columns: 512, depth: 256 },
      { rows: 256, columns: 256, depth: 256 },
      { rows: 1024, columns: 1024, depth: 64 },
    ],
  },
} as const;

const WINDOW = 64;

/** The problems that the options ask for. Those that matter most come first, because the time may run out. */
export function tuningProblems(traits: Traits, options: TuneOptions): TuningProblem[] {
  const sizes = SIZES[traits.isSoftware ? 'cpu' : 'gpu'];
  const { isSoftware } = traits;
  const { ops = TUNABLE_OPS, dtypes = FLOAT_DTYPES } = options;
  const { headDims = isSoftware ? [64] : VALUE_DIM_BUCKETS } = options;
  const dims = VALUE_DIM_BUCKETS.filter((most, i) =>
    headDims.some((dim) => dim <= most && dim > (VALUE_DIM_BUCKETS[i - 1] ?? 0)),
  );
  const attention = (length: number, headDim: number) => ({ heads: sizes.modelDim / headDim, length, headDim });
  const problemsOf = (op: TunableOp, dtype: FloatDType): TuningProblem[] => {
    switch (op) {
      case 'matmul':
        return sizes.matmul.map((size) => matmulProblem(dtype, size, traits));
      case 'attentionGradient':
        return dims.map((dim) => gradientProblem(dtype, attention(sizes.flashLength, dim), traits));
      case 'localAttention':
        return dims.map((dim) =>
          attentionProblem(op, dtype, { ...attention(sizes.localLength, dim), window: WINDOW }, traits),
        );
      case 'flashAttention':
        return [
          ...dims.map((dim) =>
            attentionProblem(op, dtype, { ...attention(sizes.flashLength, dim), window: WINDOW }, traits),
          ),
          ...dims.map((dim) => decodingProblem(dtype, attention(sizes.decodingLength, dim), traits)),
        ];
    }
  };
  const problems = FLOAT_DTYPES.filter((dtype) => dtypes.includes(dtype)).flatMap((dtype) =>
    TUNABLE_OPS.filter((op) => ops.includes(op)).flatMap((op) => problemsOf(op, dtype)),
  );
  const isGradient = ({ op }: TuningProblem) => op === 'attentionGradient';
  return [...problems.filter((problem) => !isGradient(problem)), ...problems.filter(isGradient)];
}
