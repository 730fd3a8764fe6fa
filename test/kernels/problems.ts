/** Problems to plan, with contiguous operands where nothing else is said. */
import type { AttentionProblem } from '../../src/kernels/attention-operands.ts';
import type { Operand } from '../../src/kernels/launch.ts';
import type { MatmulProblem } from '../../src/kernels/matmul.ts';
import type { SoftmaxProblem } from '../../src/kernels/softmax.ts';
import { UNBOUNDED, type Visibility } from '../../src/kernels/visibility.ts';
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

export const EVERYTHING: Visibility = { band: { left: UNBOUNDED, right: UNBOUNDED, queryOffset: 0 } };

export function dense(...shape: number[]): Operand {
  return { strides: shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1)), offset: 0 };
}

export function attentionProblem(given: Partial<AttentionProblem> = {}): AttentionProblem {
  const { batch = 1, heads = 1, queryLength = 64, headDim = 64 } = given;
  const { kvHeads = heads, keyLength = queryLength, valueDim = headDim, queryRows = queryLength } = given;
  return {
    op: 'test',
    dtype: 'float32',
    batch,
    heads,
    kvHeads,
    queryLength,
    keyLength,
    queryRows,
    headDim,
    valueDim,
    scale: 1,
    q: dense(batch, heads, queryLength, headDim),
    k: dense(batch, kvHeads, keyLength, headDim),
    v: dense(batch, kvHeads, keyLength, valueDim),
    output: dense(batch, heads, queryLength, valueDim),
    visibility: EVERYTHING,
    scores: {},
    keys: { layout: 'contiguous' },
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
    inDType: 'float32',
    outDType: 'float32',
    x: dense(...shape),
    scale: 1,
    visibility: EVERYTHING,
    scores: {},
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
