import type { Launch } from '../gpu/runtime.ts';
import type { Constants, Shader } from '../gpu/shader.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Traits } from '../tensor/traits.ts';
import type { Choice, Variant } from './choice.ts';
import { foldWorkgroups, readsQuads, type Operand } from './launch.ts';
import { scoreConstants, scoreParams, type Scores } from './score.ts';
import { visibilityParams, type Visibility } from './visibility.ts';

/** Where the key numbered j of a batch entry lies. Twin of `key_slot`. */
export type KeyPlaces =
  | { readonly layout: 'contiguous' }
  /** The first `kept` in their own rows, the others in a ring behind them whose oldest is in its row `start`. */
  | { readonly layout: 'ring'; readonly kept: number; readonly start: number; readonly length: number }
  /** Row j mod pageSize of the page that `table[at + batch · pitch + ⌊j / pageSize⌋]` names. */
  | { readonly layout: 'paged'; readonly pageSize: number; readonly at: number; readonly pitch: number };

/** Which blocks of scores have anything to attend to: `table[at + …]`, in `columns` a row of blocks. */
export interface BlockPlaces {
  readonly at: number;
  readonly blockSize: number;
  readonly columns: number;
  /** Elements between batch entries, and between heads; 0 where broadcast. */
  readonly pitches: readonly [number, number];
}

/** What the fused attention kernels read, forward and backward; strides are those of batch, head, row, column. */
export interface AttentionInputs {
  /** The op's name, for errors. */
  readonly op: string;
  /** The op whose choice of kernels holds, where it is another's. */
  readonly kernelsOf?: string;
  /** Of q and the output. */
  readonly dtype: FloatDType;
  /** Of k and v, where it is another. */
  readonly kvDtype?: FloatDType;
  /** Batch entries; of a packed batch its sequences. */
  readonly batch: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** Of the longest sequence. */
  readonly queryLength: number;
  readonly keyLength: number;
  /** Rows of q: those of all packed sequences, else queryLength. */
  readonly queryRows: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly scale: number;
  readonly q: Operand;
  readonly k: Operand;
  readonly v: Operand;
  readonly visibility: Visibility;
  readonly scores: Scores;
  readonly keys: KeyPlaces;
  readonly blocks?: BlockPlaces;
}

/** What the forward kernels compute. */
export interface AttentionProblem extends AttentionInputs {
  readonly output: Operand;
  readonly writesLogSumExp: boolean;
}

/** One way to compute fused attention. */
export interface AttentionVariant extends Variant {
  readonly family: string;
  /** Query rows a workgroup. */
  readonly blockQ: number;
  /** Keys a step of the online softmax. */
  readonly blockK: number;
}

export interface AttentionPlan extends Launch {
  readonly choice: Choice<AttentionVariant>;
  /** Where the keys are split: `parts` results in float32 for the launch that merges them. */
  readonly merge?: Launch & { readonly parts: number };
}

/** Of the larger of head and value dim: the registers of q and O in kernels that hold both. */
export const DIM_BUCKETS = [32, 64, 96, 128, 256];

const KEY_LAYOUTS = { contiguous: 0, ring: 1, paged: 2 } as const;

/** Rows of a tile's queries that share their keys: those of a group's heads are taken together where they are few. */
export function packsGroup(
  { heads, kvHeads, queryLength, blocks }: AttentionProblem,
  { family, blockQ }: AttentionVariant,
): boolean {
  return heads > kvHeads && queryLength < blockQ && !blocks && family !== 'matrix';
}

/** Constants of parts/attention-operands.wgsl and parts/score.wgsl, where they differ from their defaults. */
export function operandConstants({ dtype, kvDtype = dtype, keys, blocks, scores }: AttentionInputs): Constants {
  return {
    ...(kvDtype === 'float16' && { KV_F16: true }),
    ...(keys.layout !== 'contiguous' && { KEY_LAYOUT: KEY_LAYOUTS[keys.layout] }),
    ...(blocks && { HAS_BLOCK_MASK: true }),
    ...scoreConstants(scores),
  };
}

/** Uniform fields of parts/attention-operands.wgsl about what is read. */
export function operandParams(problem: AttentionInputs) {
  const { q, k, v, keys, blocks } = problem;
  return {
    heads: problem.heads,
    group_size: problem.heads / problem.kvHeads,
    query_length: problem.queryLength,
    key_length: problem.keyLength,
    head_dim: problem.headDim,
    value_dim: problem.valueDim,
    scale: problem.scale,
    q_strides: q.strides,
    k_strides: k.strides,
    v_strides: v.strides,
    q_offset: q.offset,
    k_offset: k.offset,
    v_offset: v.offset,
    vector_loads: vectorLoads([q, k, v]),
    query_rows: problem.queryRows,
    pages_at: keys.layout === 'paged' ? keys.at : 0,
    pages_pitch: keys.layout === 'paged' ? keys.pitch : 0,
    page_shift: keys.layout === 'paged' ? Math.log2(keys.pageSize) : 0,
    ring_kept: keys.layout === 'ring' ? keys.kept : 0,
    ring_start: keys.layout === 'ring' ? keys.start : 0,
    ring_length: keys.layout === 'ring' ? keys.length : 0,
    blocks_at: blocks?.at ?? 0,
    block_shift: blocks ? Math.log2(blocks.blockSize) : 0,
    block_columns: blocks?.columns ?? 0,
    block_pitches: blocks?.pitches ?? [0, 0],
    ...visibilityParams(problem.visibility),
    ...scoreParams(problem.scores),
  };
}

/** A bit for each operand whose columns may be read four at a time. */
export function vectorLoads(operands: readonly Operand[]): number {
  return operands.reduce((bits, operand, i) => bits | (Number(readsQuads(operand, 3)) << i), 0);
}

/** Uniform fields that kernels without gradients do not read. */
const NO_GRADIENTS = {
  stats_at: 0,
  stats_pitch: 0,
  d_output_strides: [0, 0, 0, 0],
  d_output_offset: 0,
  gradient_strides: [0, 0, 0, 0],
  value_gradient_strides: [0, 0, 0, 0],
  value_gradient_at: 0,
  batches: 0,
  key_tiles: 0,
  first_column: 0,
};

/**
 * A forward kernel's launch: a workgroup for each `blockQ` rows of each head and split. `constants` are the kernel's own;
 * those of its parts are given where they differ from their defaults.
 */
export function attentionLaunch(
  shader: Shader,
  constants: Constants,
  problem: AttentionProblem,
  variant: AttentionVariant,
  traits: Traits,
  splits = 1,
): Launch {
  const { output, batch, heads, kvHeads, queryLength, queryRows, valueDim, scores, dtype } = problem;
  const packs = packsGroup(problem, variant);
  const headTiles = packs ? kvHeads : heads;
  const queryTiles = Math.ceil((packs ? (queryLength * heads) / kvHeads : queryLength) / variant.blockQ);
  const groups = queryTiles * splits * headTiles * batch;
  const storedBatch = scores.sequences ? 1 : batch;
  // splits are row-major: [splits, batch, heads, rows, value dim]
  const partStrides = [heads * queryRows * valueDim, queryRows * valueDim, valueDim, 1];
  return {
    shader,
    constants: {
      ...constants,
      ...operandConstants(problem),
      ...(dtype === 'float16' && splits === 1 && { OUT_F16: true }),
      ...(packs && { PACKS_GROUP: true }),
    },
    params: {
      groups,
      query_tiles: queryTiles,
      splits,
      head_tiles: headTiles,
      output_strides: splits === 1 ? output.strides : partStrides,
      writes_log_sum_exp: problem.writesLogSumExp || splits > 1 ? 1 : 0,
      split_pitch: storedBatch * partStrides[0],
      split_rows: storedBatch * heads * queryRows,
      ...operandParams(problem),
      ...NO_GRADIENTS,
    },
    workgroups: foldWorkgroups(problem.op, groups, traits),
    ...(scores.modifiers && { insertions: scores.modifiers.insertions }),
  };
}
