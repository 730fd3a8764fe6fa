/** The gradient of fused attention: the kernels of shaders/attention-gradient, and which of them compute a problem. */
import keySubgroupShader from '../../shaders/attention-gradient/key-subgroup.wgsl';
import keyRegisterShader from '../../shaders/attention-gradient/key-register.wgsl';
import keyShader from '../../shaders/attention-gradient/key.wgsl';
import valuesApart from '../../shaders/attention-gradient/parts/value-output-apart.wgsl';
import maskShader from '../../shaders/attention-gradient/mask.wgsl';
import mergeShader from '../../shaders/attention-gradient/merge.wgsl';
import querySubgroupShader from '../../shaders/attention-gradient/query-subgroup.wgsl';
import queryRegisterShader from '../../shaders/attention-gradient/query-register.wgsl';
import queryShader from '../../shaders/attention-gradient/query.wgsl';
import rowStatisticsShader from '../../shaders/attention-gradient/row-statistics.wgsl';
import sinksShader from '../../shaders/attention-gradient/sinks.wgsl';
import type { UniformValues } from '../gpu/uniform.ts';
import type { Launch } from '../gpu/runtime.ts';
import { replacePart, type Constants, type Shader } from '../gpu/shader.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { rowPitch } from '../tensor/shape.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import {
  alignment,
  attentionVariants,
  CHUNK_BYTES,
  DIM_BUCKETS,
  hasManyRegisters,
  inputFields,
  MAX_COLUMNS,
  MOST_REGISTER_NUMBERS,
  storedBatch,
  valueDimBucket,
  leavesWorkOut,
  visiblePairs,
  type AttentionInputs,
  type AttentionOp,
} from './attention.ts';
import { decide, NO_CHOICES, type Choice, type ChoiceKey, type Variant } from './choice.ts';
import { foldWorkgroups, operandFields, readsQuads, readsVectors, type Limits, type Operand } from './launch.ts';
import { chooseRowLanes, rowsPerWorkgroup } from './rows.ts';

/** The inputs of the kernels. All tensors have q's dtype. */
export interface AttentionGradientProblem extends AttentionInputs {
  /** [B, H, Nq, Dv], any strides. */
  readonly dOutput: Operand;
  /** Word of `table` at which each row's log-sum-exp begins, [B, H, rows]. D follows. */
  readonly statsAt: number;
}

/** Twin of the constants of attention-gradient/parts/tile. */
export interface GradientTileVariant extends Variant {
  readonly family: 'tile';
  /** Queries or keys per workgroup. */
  readonly ownRows: number;
}

/** Twin of the constants of attention-gradient/parts/subgroup and of the kernels that name it. */
export interface GradientSubgroupVariant extends Variant {
  readonly family: 'subgroup';
  /** Invocations of a subgroup. */
  readonly lanes: number;
  /** Queries, or keys, a workgroup. */
  readonly ownRows: number;
}

/** Twin of the constants of attention-gradient/query-register and key-register. */
export interface GradientRegisterVariant extends Variant {
  readonly family: 'register';
  /** Queries, or keys, a workgroup, and keys, or queries, a step. */
  readonly ownRows: number;
  readonly otherRows: number;
  /** The same of an invocation. */
  readonly rows: number;
  readonly others: number;
  /** Buckets of the head and the value dim. */
  readonly dim: number;
  readonly valueDim: number;
  /** Quads of dims, and rows of the other side, in a chunk. */
  readonly stepQuads: number;
  readonly stepRows: number;
  /** Workgroup memory. */
  readonly bytes: number;
}

export type AttentionGradientVariant = GradientTileVariant | GradientSubgroupVariant | GradientRegisterVariant;

/** Whose rows a workgroup owns: queries for dQ, keys for dK and dV. */
export type GradientSide = 'query' | 'key';

/** Fits every device. */
const TILE: GradientTileVariant = { name: 'tile-32x32', family: 'tile', ownRows: 32 };

/** Undefined if subgroups, dims or a block mask's blocks do not allow it. */
function subgroupVariant(
  { headDim, valueDim, options }: GradientSize,
  { subgroupSize, isSoftware }: Traits,
): GradientSubgroupVariant | undefined {
  const dim = Math.max(headDim, valueDim);
  if (subgroupSize === 0 || (subgroupSize > 8 && !isSoftware) || dim > DIM_BUCKETS.at(-1)!) return undefined;
  // 64 columns by 4 rows need as many registers as 256 by 1; more take too long to compile
  const rows = dim > 128 ? 1 : dim > 64 ? 2 : 4;
  const ownRows = subgroupSize * rows;
  if (ownRows > (options?.maskBlock ?? Infinity)) return undefined;
  return { name: 'subgroup', family: 'subgroup', lanes: subgroupSize, ownRows };
}

/** Tiles of the register kernels: own and other rows of a workgroup, and of a lane. */
const REGISTER_TILES = [
  [32, 64, 4, 8],
  [16, 128, 4, 8],
  [64, 64, 4, 8],
] as const;
const REGISTER_DIM_BUCKETS = [32, 64, 128];
/** With more, a multiprocessor keeps too few workgroups to hide latency, unless tune() finds otherwise. */
const MOST_DEFAULT_BYTES = 32_768;

/** Those that the device's limits, an invocation's registers and a block mask's blocks allow. */
function registerVariants(
  { headDim, valueDim: givenValueDim, dtype, options }: GradientSize,
  side: GradientSide,
  traits: Traits,
): GradientRegisterVariant[] {
  const dim = REGISTER_DIM_BUCKETS.find((bucket) => headDim <= bucket);
  const valueDim = REGISTER_DIM_BUCKETS.find((bucket) => givenValueDim <= bucket);
  if (dim === undefined || valueDim === undefined) return [];
  const elementBytes = dtype === 'float16' ? 2 : 4;
  return REGISTER_TILES.flatMap(([ownRows, otherRows, rows, others]): GradientRegisterVariant[] => {
    const across = otherRows / others;
    const workgroup = (across * ownRows) / rows;
    const loads = (16 / elementBytes) * workgroup; // elements that all lanes load at once
    const stepQuads = CHUNK_BYTES / elementBytes / 4 / otherRows;
    const rowDims = side === 'query' ? [dim] : [dim, valueDim]; // of what the scores' gradients multiply
    const stepRows = rowDims.every((columns) => (16 * columns) % loads === 0) ? 16 : 32;
    const name = `register-${ownRows}x${otherRows}-${rows}x${others}`;
    const sizes = { ownRows, otherRows, rows, others, dim, valueDim, stepQuads, stepRows };
    const bytes = registerBytes(sizes, side, elementBytes, options?.constants['HAS_DROPOUT'] === true);
    const fits =
      rowDims.every((columns) => columns % (4 * across) === 0) &&
      rows * (2 * others + sum(rowDims) / across) <= MOST_REGISTER_NUMBERS &&
      bytes <= traits.maxComputeWorkgroupStorageSize &&
      workgroup <= traits.maxComputeInvocationsPerWorkgroup &&
      Math.max(ownRows, otherRows) <= (options?.maskBlock ?? Infinity);
    return fits ? [{ name, family: 'register', ...sizes, bytes }] : [];
  });
}

/** Bytes of the workgroup variables. */
function registerBytes(
  sizes: Omit<GradientRegisterVariant, 'name' | 'family' | 'bytes'>,
  side: GradientSide,
  elementBytes: number,
  hasDropout: boolean,
): number {
  const { ownRows, otherRows, others, dim, valueDim, stepQuads, stepRows } = sizes;
  const own = ownRows * (dim / 4 + 1 + valueDim / 4 + 1);
  const p = (ownRows / 4) * (Math.max(stepRows, (2 * otherRows) / others) + 1);
  const rowDim = side === 'query' ? dim : Math.max(dim, valueDim);
  const chunk = Math.max(otherRows * stepQuads * 4, stepRows * rowDim) * elementBytes;
  const statistics = side === 'query' ? 0 : 8 * otherRows;
  // of dropout's bits
  const words = side === 'query' ? (ownRows * otherRows) / 32 : otherRows * Math.ceil(ownRows / 32);
  return 16 * (own + p) + chunk + statistics + (hasDropout ? 4 * words : 0) + 3 * 16;
}

/** What the choice of a kernel depends on. */
export interface GradientSize extends Pick<AttentionInputs, 'dtype' | 'headDim' | 'valueDim'> {
  /** The op whose pinned kernel decides the family where no kernel of the gradient is pinned. */
  readonly kernelsOf: AttentionOp;
  /** Default none. */
  readonly options?: Pick<AttentionInputs['options'], 'constants' | 'maskBlock'>;
}

/** Every kernel that can compute such a gradient on the device. */
export function gradientVariants(size: GradientSize, side: GradientSide, traits: Traits): AttentionGradientVariant[] {
  const variants = [subgroupVariant(size, traits), ...registerVariants(size, side, traits), TILE];
  return variants.filter((variant) => variant !== undefined);
}

/** Dims of one class share a choice, and mostly a compiled kernel. */
export function gradientKey({ dtype, headDim, valueDim }: GradientSize): ChoiceKey {
  return { op: 'attentionGradient', dtype, sizeClass: valueDimBucket(Math.max(headDim, valueDim)) };
}

/** The pinned kernel, the tuned one, one of the family that the op is pinned to, or what suits the device's class. */
export function chooseAttentionGradient(
  size: GradientSize,
  side: GradientSide,
  traits: Traits,
  choices: KernelChoices = NO_CHOICES,
): Choice<AttentionGradientVariant> {
  const variants = gradientVariants(size, side, traits);
  const ofOp = ofForward(size, variants, traits, choices);
  return decide(gradientKey(size), variants, ofOp ?? preferred(variants, traits), choices);
}

function ofForward(
  { kernelsOf, dtype, headDim, valueDim }: GradientSize,
  variants: readonly AttentionGradientVariant[],
  traits: Traits,
  { pinned }: KernelChoices,
): Choice<AttentionGradientVariant> | undefined {
  const name = pinned.get(kernelsOf);
  if (name === undefined) return undefined;
  const forward = attentionVariants({ kernelsOf, dtype, headDim, valueDim }, traits).find(
    (known) => known.name === name,
  );
  const variant = defaultOf(forward?.family, variants);
  return variant && { variant, reason: `${kernelsOf} is pinned to ${name}` };
}

/** The first kernel of a family that no device lacks memory for. */
function defaultOf(
  family: string | undefined,
  variants: readonly AttentionGradientVariant[],
): AttentionGradientVariant | undefined {
  const isSmall = (variant: AttentionGradientVariant) =>
    variant.family !== 'register' || variant.bytes <= MOST_DEFAULT_BYTES;
  return variants.find((variant) => variant.family === family && isSmall(variant));
}

/** What suits the device's class if nothing was measured. */
function preferred(variants: readonly AttentionGradientVariant[], traits: Traits): Choice<AttentionGradientVariant> {
  const subgroup = defaultOf('subgroup', variants);
  // as in the forward pass, the tile kernels are faster with subgroups of 4
  if (subgroup && traits.isSoftware && traits.subgroupSize >= 8) {
    return { variant: subgroup, reason: 'a CPU driver: neither barriers nor workgroup memory' };
  }
  const register = defaultOf('register', variants);
  // on AMD they take 204 to 240 registers
  if (register && hasManyRegisters(traits)) {
    return { variant: register, reason: 'a GPU: 4 × 8 scores a lane, in registers' };
  }
  return { variant: TILE, reason: 'fits every device' };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}

/** The first columns of the launches that a gradient of `columns` columns takes. */
function columnPasses(columns: number): number[] {
  return Array.from({ length: Math.ceil(columns / MAX_COLUMNS) }, (_, pass) => pass * MAX_COLUMNS);
}

/** How many of `columns` the pass from `first` on computes. */
function columnsIn(columns: number, first: number): number {
  return Math.max(0, Math.min(columns - first, MAX_COLUMNS));
}

/** Constants of a tile kernel whose invocations keep at most `quads` quads of gradients. */
function tileConstants(columns: number, ownRows: number, quads: number): Constants {
  const dim = valueDimBucket(columns); // a power of two, so that each invocation has whole rows
  const workgroup = Math.max(2 * ownRows, (ownRows * dim) / (4 * quads));
  return { DIM: dim, OWN_ROWS: ownRows, WORKGROUP: workgroup };
}

function subgroupConstants(problem: AttentionGradientProblem, { lanes, ownRows }: GradientSubgroupVariant): Constants {
  const { headDim, valueDim, dOutput } = problem;
  const dim = Math.max(headDim, valueDim);
  return {
    DIM: DIM_BUCKETS.find((size) => dim <= size)!,
    SUBGROUP: lanes,
    ROWS: ownRows / lanes,
    ...alignment(problem),
    ...(valueDim % 4 === 0 && readsQuads(dOutput, 3) && { D_OUTPUT_ALIGNED: true }),
  };
}

function registerConstants(
  problem: AttentionGradientProblem,
  side: GradientSide,
  variant: GradientRegisterVariant,
): Constants {
  const { headDim, valueDim, q, k, v, dOutput } = problem;
  const { ownRows, otherRows, rows, others, stepQuads, stepRows } = variant;
  const isQuery = side === 'query';
  const width = problem.dtype === 'float16' ? 8 : 4;
  const isWhole = (operand: Operand, columns: number) => columns % width === 0 && readsVectors(operand, 3, width);
  const [first, second] = isQuery ? [k, v] : [q, dOutput];
  return {
    DIM: variant.dim,
    VALUE_DIM: variant.valueDim,
    WORKGROUP: (ownRows / rows) * (otherRows / others),
    STEP_QUADS: stepQuads,
    ...(isQuery
      ? { BLOCK_Q: ownRows, BLOCK_K: otherRows, ROWS: rows, KEYS: others, STEP_KEYS: stepRows }
      : { BLOCK_K: ownRows, BLOCK_Q: otherRows, KEYS: rows, QUERIES: others, STEP_QUERIES: stepRows }),
    ...(isWhole(first, headDim) && isWhole(second, valueDim) && { VECTORS: true }),
  };
}

/** A kernel with attention-gradient/parts/pair. `params` are its own uniform fields. */
function gradientLaunch(
  shader: Shader,
  constants: Constants,
  problem: AttentionGradientProblem,
  { groups, operations }: { readonly groups: number; readonly operations: number },
  params: UniformValues,
  traits: Traits,
): Launch {
  const { op, dtype, dOutput, statsAt, options } = problem;
  return {
    shader,
    constants: {
      IS_F16: dtype === 'float16',
      ...constants,
      ...(dtype === 'float16' && { KV_F16: true }),
      ...options.constants,
    },
    params: {
      first_group: 0,
      end_group: groups,
      ...inputFields(problem),
      gradient: { d_output: operandFields(dOutput), stats_at: statsAt, stats_pitch: statsRows(problem) },
      ...params,
    },
    workgroups: foldWorkgroups(op, groups, traits),
    operations,
    ...(leavesWorkOut(problem) && { isUpperBound: true }),
    insertions: options.gradientInsertions,
  };
}

/** Rows of the statistics: those of the stored q. */
export function statsRows(problem: AttentionInputs): number {
  return storedBatch(problem) * problem.heads * problem.queryRows;
}

/** The gradient of q; `dQuery` has contiguous columns. */
export function planQueryGradient(
  problem: AttentionGradientProblem,
  dQuery: Operand,
  traits: Traits,
  choices?: KernelChoices,
): Launch[] {
  const { headDim, valueDim, queryLength, heads, batch } = problem;
  const { variant } = chooseAttentionGradient(problem, 'query', traits, choices);
  const queryTiles = Math.ceil(queryLength / variant.ownRows);
  /** Each pass computes scores and dP, and so many columns of dQ. */
  const launch = (shader: Shader, constants: Constants, own: UniformValues, columns = headDim) =>
    gradientLaunch(
      shader,
      constants,
      problem,
      {
        groups: queryTiles * heads * batch,
        operations: 2 * visiblePairs(problem) * (headDim + valueDim + columns),
      },
      {
        work: { query_tiles: queryTiles, splits: 1, head_tiles: heads },
        queries: { d_query_strides: dQuery.strides },
        ...own,
      },
      traits,
    );
  if (variant.family === 'subgroup') {
    return [launch(querySubgroupShader, subgroupConstants(problem, variant), {})];
  }
  if (variant.family === 'register') {
    return [launch(queryRegisterShader, registerConstants(problem, 'query', variant), {})];
  }
  return columnPasses(headDim).map((column) =>
    launch(
      queryShader,
      tileConstants(headDim - column, variant.ownRows, 16),
      { first_column: column },
      columnsIn(headDim, column),
    ),
  );
}

/** Whether dK and dV have separate buffers. WebGPU promises eight per kernel, and the other operands take seven. */
export function hasValuesApart({ maxStorageBuffersPerShaderStage }: Traits): boolean {
  return maxStorageBuffersPerShaderStage > 8;
}

const apart = (shader: Shader) => replacePart(shader, 'attention-gradient/parts/value-output', valuesApart);
const KEY_SHADERS = {
  joined: { tile: keyShader, subgroup: keySubgroupShader, register: keyRegisterShader },
  apart: {
    tile: /* @__PURE__ */ apart(keyShader),
    subgroup: /* @__PURE__ */ apart(keySubgroupShader),
    register: /* @__PURE__ */ apart(keyRegisterShader),
  },
};

/** The gradients of k and v; their columns are contiguous. They have buffers of their own where `hasValuesApart`. */
export function planKeyGradient(
  problem: AttentionGradientProblem,
  { dKey, dValue }: { readonly dKey: Operand; readonly dValue: Operand },
  traits: Traits,
  choices?: KernelChoices,
): Launch[] {
  const { headDim, valueDim, keyLength, kvHeads, batch } = problem;
  const { variant } = chooseAttentionGradient(problem, 'key', traits, choices);
  const shader = KEY_SHADERS[hasValuesApart(traits) ? 'apart' : 'joined'][variant.family];
  const keyTiles = Math.ceil(keyLength / variant.ownRows);
  const columns = Math.max(headDim, valueDim);
  /** Each pass computes scores and dP, and so many columns of dK and dV together. */
  const launch = (constants: Constants, own: UniformValues, columnsOfPass = headDim + valueDim) =>
    gradientLaunch(
      shader,
      constants,
      problem,
      {
        groups: keyTiles * kvHeads * batch,
        operations: 2 * visiblePairs(problem) * (headDim + valueDim + columnsOfPass),
      },
      {
        keys: {
          d_key_strides: dKey.strides,
          d_value_strides: dValue.strides,
          d_value_at: dValue.offset,
          key_tiles: keyTiles,
        },
        ...own,
      },
      traits,
    );
  if (variant.family === 'subgroup') {
    return [launch(subgroupConstants(problem, variant), {})];
  }
  if (variant.family === 'register') {
    return [launch(registerConstants(problem, 'key', variant), {})];
  }
  return columnPasses(columns).map((column) =>
    launch(
      tileConstants(columns - column, variant.ownRows, 8),
      { first_column: column },
      columnsIn(headDim, column) + columnsIn(valueDim, column),
    ),
  );
}

const MASK_BLOCK = 32;

/**
 * The gradient of a float mask: a workgroup for each 32 × 32 of its elements. `lengths` and `strides` are those of batch, head,
 * query and key; a length of 1 is broadcast. The buffer begins with it, and its columns are contiguous.
 */
export function planMaskGradient(
  problem: AttentionGradientProblem,
  { lengths, strides }: { readonly lengths: readonly number[]; readonly strides: readonly number[] },
  traits: Traits,
): Launch {
  const [batches, heads, queries, keys] = lengths;
  const [queryTiles, keyTiles] = [Math.ceil(queries / MASK_BLOCK), Math.ceil(keys / MASK_BLOCK)];
  const params = {
    batches: problem.batch,
    mask_heads: heads,
    query_tiles: queryTiles,
    key_tiles: keyTiles,
    d_mask_strides: strides.map((stride, axis) => (lengths[axis] === 1 ? 0 : stride)),
  };
  const work = {
    groups: batches * heads * queryTiles * keyTiles,
    operations: 2 * visiblePairs(problem) * (problem.headDim + problem.valueDim),
  };
  return gradientLaunch(maskShader, {}, problem, work, params, traits);
}

/** Strides are those of batch, head, row, column. */
export interface RowStatisticsProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  readonly valueDim: number;
  readonly dtype: FloatDType;
  readonly output: Operand;
  /** Where the output has a gradient. */
  readonly dOutput?: Operand;
  /** Strides of batch, head, row; where the log-sum-exp has a gradient. */
  readonly dLogSumExp?: Operand;
  /** Word of `table`. */
  readonly statsAt: number;
}

const STATISTICS_WORKGROUP = 64;

/** The statistics of each row that the other kernels need: its log-sum-exp and D. */
export function planRowStatistics(problem: RowStatisticsProblem, traits: Traits): Launch {
  const { op, batch, heads, length, output, dOutput, dLogSumExp } = problem;
  const rows = batch * heads * length;
  // on a CPU each barrier costs more than a row's sum; on a GPU neighbours should read neighbouring columns
  const lanes = traits.isSoftware ? 1 : 8;
  const groups = Math.ceil(rows / (STATISTICS_WORKGROUP / lanes));
  return {
    shader: rowStatisticsShader,
    constants: { IS_F16: problem.dtype === 'float16', LANES: lanes },
    params: {
      groups,
      rows,
      heads,
      length,
      value_dim: problem.valueDim,
      stats_at: problem.statsAt,
      has_d_output: dOutput ? 1 : 0,
      has_d_log_sum_exp: dLogSumExp ? 1 : 0,
      o: operandFields(output),
      d_output: operandFields(dOutput ?? output),
      d_log_sum_exp: { strides: [0, 0, 0], offset: 0, ...dLogSumExp },
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}

export interface SinksGradientProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  /** Words of `table`. */
  readonly statsAt: number;
  readonly sinksAt: number;
}

/** The gradient of sinks: a workgroup for each head. */
export function planSinksGradient(problem: SinksGradientProblem, limits: Limits): Launch {
  const { op, batch, heads, length, statsAt, sinksAt } = problem;
  return {
    shader: sinksShader,
    constants: {},
    params: {
      groups: heads,
      heads,
      length,
      rows: batch * length,
      stats_at: statsAt,
      stats_pitch: batch * heads * length,
      sinks: { at: sinksAt },
    },
    workgroups: foldWorkgroups(op, heads, limits),
  };
}

export interface MergeGradientProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly parts: number;
  /** Rows of each part's output. */
  readonly rows: number;
  readonly valueDim: number;
  /** Dtype of the gradients of the parts' outputs. */
  readonly dtype: FloatDType;
  /** Whether the merged output has a gradient, and whether its log-sum-exp does. */
  readonly hasGradient: boolean;
  readonly hasLogSumExpGradient: boolean;
}

/** The gradients of merged parts. */
export function planMergeGradient(problem: MergeGradientProblem, traits: Traits): Launch {
  const { op, parts, rows, valueDim, dtype } = problem;
  const groups = Math.ceil(rows / rowsPerWorkgroup(valueDim, traits));
  return {
    shader: mergeShader,
    constants: { LANES: chooseRowLanes(valueDim, traits), OUT_F16: dtype === 'float16' },
    params: {
      groups,
      parts,
      rows,
      value_dim: valueDim,
      output_pitch: rowPitch(valueDim, dtype),
      has_gradient: problem.hasGradient ? 1 : 0,
      has_log_sum_exp_gradient: problem.hasLogSumExpGradient ? 1 : 0,
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}
