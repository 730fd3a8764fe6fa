import type { Launch } from '../gpu/runtime.ts';
import type { Constants, Shader } from '../gpu/shader.ts';
import type { Traits } from '../tensor/traits.ts';
import { operandConstants, operandParams, vectorLoads, type AttentionInputs } from './attention-operands.ts';
import { foldWorkgroups, type Operand } from './launch.ts';

/** What the kernels of fused attention's gradient compute. All tensors are of q's dtype. */
export interface AttentionGradientProblem extends AttentionInputs {
  /** [B, H, Nq, Dv], any strides. */
  readonly dOutput: Operand;
  /** Word of `table` at which each row's log-sum-exp begins, [B, H, rows], and behind those D. */
  readonly statsAt: number;
  /** Rows begin at words, columns lie next to each other; the buffer of dQ. */
  readonly dQuery: Operand;
  /** In one buffer, dKey from 0. */
  readonly dKey: Operand;
  readonly dValue: Operand;
}

/** Twin of the constants of parts/attention-gradient-tile.wgsl. */
export interface TileSize {
  /** Queries or keys a workgroup. */
  readonly ownRows: number;
}

/** Columns of a gradient that one launch computes; more are computed in several, scores each time anew. */
const MAX_GRADIENT_COLUMNS = 256;
/** Powers of two, for an invocation's rows to be whole. */
const COLUMN_BUCKETS = [32, 64, 128, MAX_GRADIENT_COLUMNS];

/** Registers of a gradient of so many columns, those of one launch. */
export function gradientDim(columns: number): number {
  return COLUMN_BUCKETS.find((size) => columns <= size) ?? MAX_GRADIENT_COLUMNS;
}

/** Rows of the statistics: those of the stored q. */
export function statsRows({ batch, heads, queryRows, scores }: AttentionInputs): number {
  return (scores.sequences ? 1 : batch) * heads * queryRows;
}

/** A workgroup for each `blockQ` query rows of each head: dQ's columns from `firstColumn` on. */
export function queryGradientLaunch(
  shader: Shader,
  constants: Constants,
  problem: AttentionGradientProblem,
  blockQ: number,
  firstColumn: number,
  traits: Traits,
): Launch {
  const queryTiles = Math.ceil(problem.queryLength / blockQ);
  const groups = queryTiles * problem.heads * problem.batch;
  return gradientLaunch(shader, constants, problem, traits, {
    groups,
    query_tiles: queryTiles,
    key_tiles: 0,
    head_tiles: problem.heads,
    gradient_strides: problem.dQuery.strides,
    first_column: firstColumn,
  });
}

/** A workgroup for each `blockK` keys of each key head: the columns of dK and dV from `firstColumn` on. */
export function keyGradientLaunch(
  shader: Shader,
  constants: Constants,
  problem: AttentionGradientProblem,
  blockK: number,
  firstColumn: number,
  traits: Traits,
): Launch {
  const keyTiles = Math.ceil(problem.keyLength / blockK);
  const groups = keyTiles * problem.kvHeads * problem.batch;
  return gradientLaunch(shader, constants, problem, traits, {
    groups,
    query_tiles: 0,
    key_tiles: keyTiles,
    head_tiles: problem.kvHeads,
    gradient_strides: problem.dKey.strides,
    first_column: firstColumn,
  });
}

/** The first columns of the launches that a gradient of so many columns takes. */
export function columnPasses(columns: number): number[] {
  return Array.from({ length: Math.ceil(columns / MAX_GRADIENT_COLUMNS) }, (_, pass) => pass * MAX_GRADIENT_COLUMNS);
}

/** A launch of a kernel with parts/attention-gradient.wgsl; `grid` is what differs between the kernels. */
export function gradientLaunch(
  shader: Shader,
  constants: Constants,
  problem: AttentionGradientProblem,
  traits: Traits,
  grid: {
    groups: number;
    query_tiles: number;
    key_tiles: number;
    head_tiles: number;
    gradient_strides: readonly number[];
    first_column: number;
  },
): Launch {
  const { q, k, v, dOutput, dValue, scores, op } = problem;
  return {
    shader,
    constants: {
      IS_F16: problem.dtype === 'float16',
      ...constants,
      ...operandConstants(problem),
    },
    params: {
      ...operandParams(problem),
      vector_loads: vectorLoads([q, k, v, dOutput]),
      splits: 1,
      output_strides: [0, 0, 0, 0],
      writes_log_sum_exp: 0,
      split_pitch: 0,
      split_rows: 0,
      stats_at: problem.statsAt,
      stats_pitch: statsRows(problem),
      d_output_strides: dOutput.strides,
      d_output_offset: dOutput.offset,
      value_gradient_strides: dValue.strides,
      value_gradient_at: dValue.offset,
      batches: problem.batch,
      ...grid,
    },
    workgroups: foldWorkgroups(op, grid.groups, traits),
    ...(scores.modifiers && { insertions: scores.modifiers.gradientInsertions }),
  };
}
