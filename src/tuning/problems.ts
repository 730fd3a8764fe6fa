/** The problems that are measured: one for each choice that ops look up. */
import { matmulKey, matmulVariants, chooseMatmul } from '../kernels/matmul.ts';
import { VALUE_DIM_BUCKETS } from '../kernels/attention.ts';
import { formatKey, NO_CHOICES, type Choice, type Variant } from '../kernels/choice.ts';
import { attentionKey, attentionVariants, chooseAttention, DEFAULT_BLOCK_SIZE } from '../kernels/attention.ts';
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
  readonly run: (inputs: readonly Tensor[]) => Tensor;
}

export const TUNABLE_OPS: readonly TunableOp[] = ['flashAttention', 'localAttention', 'matmul'];
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
    op,
    dtype,
    sizeClass: key.sizeClass,
    key: formatKey(key),
    kernels: namesOf(
      chooseAttention(size, traits, NO_CHOICES),
      chooseAttention(size, traits, NO_CHOICES, DEFAULT_BLOCK_SIZE),
      attentionVariants(size, traits),
    ),
    inputs: [shape, shape, shape],
    run:
      op === 'flashAttention'
        ? ([q, k, v]) => flashAttention(q, k, v).output
        : ([q, k, v]) => localAttention(q, k, v, { window: { left: window, right: window } }).output,
  };
}

export function matmulProblem(dtype: FloatDType, { rows, columns, depth }: MatmulSizes, traits: Traits): TuningProblem {
  const size = { batchShape: [], rows, columns, aDType: dtype };
  const key = matmulKey(size);
  return {
    op: 'matmul',
    dtype,
    sizeClass: key.sizeClass,
    key: formatKey(key),
    kernels: namesOf(
      chooseMatmul(size, traits, NO_CHOICES),
      chooseMatmul(size, { ...traits, isSoftware: false }, NO_CHOICES),
      matmulVariants(size, traits),
    ),
    inputs: [
      [rows, depth],
      [depth, columns],
    ],
    run: ([a, b]) => matmul(a, b),
  };
}

function namesOf(byDefault: Choice<Variant>, tile: Choice<Variant>, variants: readonly Variant[]): string[] {
  return [...new Set([byDefault.variant, tile.variant, ...variants].map(({ name }) => name))];
}

/** Sizes that take milliseconds on a current GPU or CPU, and at which kernels compare as they do at larger sizes. */
const SIZES = {
  gpu: {
    modelDim: 1024,
    flashLength: 2048,
    localLength: 4096,
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
  const { ops = TUNABLE_OPS, dtypes = FLOAT_DTYPES, headDims = traits.isSoftware ? [64] : VALUE_DIM_BUCKETS } = options;
  const dims = VALUE_DIM_BUCKETS.filter((most, i) =>
    headDims.some((dim) => dim <= most && dim > (VALUE_DIM_BUCKETS[i - 1] ?? 0)),
  );
  return FLOAT_DTYPES.filter((dtype) => dtypes.includes(dtype)).flatMap((dtype) =>
    TUNABLE_OPS.filter((op) => ops.includes(op)).flatMap((op) => {
      if (op === 'matmul') return sizes.matmul.map((size) => matmulProblem(dtype, size, traits));
      const length = op === 'flashAttention' ? sizes.flashLength : sizes.localLength;
      return dims.map((headDim) => {
        const heads = sizes.modelDim / headDim;
        return attentionProblem(op, dtype, { heads, length, headDim, window: WINDOW }, traits);
      });
    }),
  );
}
