/** Problems to plan, with contiguous operands where nothing else is said. */
import type { AttentionProblem, OptionFields } from '../../src/kernels/attention.ts';
import type { Operand } from '../../src/kernels/launch.ts';
import type { MatmulProblem } from '../../src/kernels/matmul.ts';
import type { SoftmaxProblem } from '../../src/kernels/softmax.ts';
import { checkOptionValues, combineEffects } from '../../src/ops/attention/internal/options.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';
import type { Traits } from '../../src/tensor/traits.ts';

/** WebGPU's default limits, without anything optional. */
export const DEFAULTS: Traits = {
  maxComputeWorkgroupStorageSize: 16_384,
  maxComputeWorkgroupsPerDimension: 65_535,
  maxComputeInvocationsPerWorkgroup: 256,
  maxStorageBuffersPerShaderStage: 8,
  isSoftware: false,
  subgroupSize: 0,
};

/** A driver for the CPU, like lavapipe. */
export const CPU_DRIVER: Traits = {
  ...DEFAULTS,
  maxComputeWorkgroupStorageSize: 32_768,
  maxComputeInvocationsPerWorkgroup: 1024,
  isSoftware: true,
  subgroupSize: 8,
};

/** No option is given: every query sees every key, and scores are not scaled. */
export const NO_OPTIONS: OptionFields = combineEffects(
  checkOptionValues(
    { scale: 1 },
    {
      op: 'test',
      batch: 1,
      heads: 1,
      queryLength: 1,
      keyLength: 1,
      headDim: 1,
      isHeadless: false,
      like: { name: 'query', tensor: undefined as unknown as Tensor }, // looked at for masks only
    },
  ),
  [],
);

export function dense(...shape: number[]): Operand {
  return { strides: shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1)), offset: 0 };
}

export function attentionProblem(given: Partial<AttentionProblem> = {}): AttentionProblem {
  const { batch = 1, heads = 1, queryLength = 64, headDim = 64 } = given;
  const { kvHeads = heads, keyLength = queryLength, valueDim = headDim, queryRows = queryLength } = given;
  return {
    op: 'test',
    kernelsOf: 'flashAttention',
    dtype: 'float32',
    kvDtype: given.dtype ?? 'float32',
    batch,
    heads,
    kvHeads,
    queryLength,
    keyLength,
    queryRows,
    headDim,
    valueDim,
    q: dense(batch, heads, queryLength, headDim),
    k: dense(batch, kvHeads, keyLength, headDim),
    v: dense(batch, kvHeads, keyLength, valueDim),
    output: dense(batch, heads, queryLength, valueDim),
    options: NO_OPTIONS,
    writesLogSumExp: false,
    ...given,
  };
}

export function matmulProblem(given: Partial<MatmulProblem> = {}): MatmulProblem {
  const { batchShape = [], rows = 64, columns = 64, depth = 64 } = given;
  return {
    op: 'test',
    batchShape,
    rows,
    columns,
    depth,
    aDType: 'float32',
    bDType: 'float32',
    outDType: 'float32',
    a: dense(...batchShape, rows, depth),
    b: dense(...batchShape, depth, columns),
    output: dense(...batchShape, rows, columns),
    ...given,
  };
}

export function softmaxProblem(given: Partial<SoftmaxProblem> = {}): SoftmaxProblem {
  const { shape = [1, 1, 8, 8] as const } = given;
  return {
    op: 'test',
    shape,
    xDType: 'float32',
    dtype: 'float32',
    x: dense(...shape),
    options: NO_OPTIONS,
    writesLogSumExp: false,
    ...given,
  };
}

/** Freezes all the way down: a plan must not write to its problem. */
export function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const item of Object.values(value)) frozen(item);
    Object.freeze(value);
  }
  return value;
}
