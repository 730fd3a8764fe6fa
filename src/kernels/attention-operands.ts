import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Traits } from '../tensor/traits.ts';
import type { Choice, Variant } from './choice.ts';
import { foldWorkgroups, readsQuads, type Operand } from './launch.ts';
import { visibilityParams, type Visibility } from './visibility.ts';

/** What the fused attention kernels compute; strides are those of batch, head, row, column. */
export interface AttentionProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly dtype: FloatDType;
  readonly batch: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly queryLength: number;
  readonly keyLength: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly scale: number;
  readonly q: Operand;
  readonly k: Operand;
  readonly v: Operand;
  readonly output: Operand;
  readonly visibility: Visibility;
  readonly writesLogSumExp: boolean;
}

/** One way to compute fused attention. */
export interface AttentionVariant extends Variant {
  /** Query rows a workgroup. */
  readonly blockQ: number;
  /** Keys a step of the online softmax. */
  readonly blockK: number;
}

export interface AttentionPlan extends Launch {
  readonly choice: Choice<AttentionVariant>;
}

/** The parameters and workgroups that all fused kernels share: a workgroup for each `blockQ` rows of each head. */
export function attentionLaunch(
  problem: AttentionProblem,
  { blockQ }: AttentionVariant,
  traits: Traits,
): Pick<Launch, 'params' | 'workgroups'> {
  const { q, k, v, output } = problem;
  const queryTiles = Math.ceil(problem.queryLength / blockQ);
  const groups = queryTiles * problem.heads * problem.batch;
  const vectorLoads = [q, k, v].reduce((bits, operand, i) => bits | (Number(readsQuads(operand, 3)) << i), 0);
  return {
    params: {
      groups,
      query_tiles: queryTiles,
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
      output_strides: output.strides,
      q_offset: q.offset,
      k_offset: k.offset,
      v_offset: v.offset,
      vector_loads: vectorLoads,
      writes_log_sum_exp: problem.writesLogSumExp ? 1 : 0,
      ...visibilityParams(problem.visibility),
    },
    workgroups: foldWorkgroups(problem.op, groups, traits),
  };
}
