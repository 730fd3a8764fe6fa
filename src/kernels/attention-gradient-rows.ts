import shader from '../../shaders/attention-gradient/rows.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Traits } from '../tensor/traits.ts';
import { vectorLoads } from './attention-operands.ts';
import { foldWorkgroups, type Operand } from './launch.ts';

/** Strides are those of batch, head, row, column. */
export interface GradientRowsProblem {
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

const WORKGROUP = 64;

export function planAttentionGradientRows(problem: GradientRowsProblem, traits: Traits): Launch {
  const { op, batch, heads, length, output, dOutput = output, dLogSumExp } = problem;
  const rows = batch * heads * length;
  // on a CPU each barrier costs more than a row's sum; a GPU wants neighbours to read neighbouring columns
  const lanes = traits.isSoftware ? 1 : 8;
  const groups = Math.ceil(rows / (WORKGROUP / lanes));
  return {
    shader,
    constants: { IS_F16: problem.dtype === 'float16', LANES: lanes },
    params: {
      groups,
      rows,
      heads,
      length,
      value_dim: problem.valueDim,
      stats_at: problem.statsAt,
      has_d_output: problem.dOutput ? 1 : 0,
      has_d_log_sum_exp: dLogSumExp ? 1 : 0,
      vector_loads: vectorLoads([output, dOutput]),
      o_offset: output.offset,
      d_output_offset: dOutput.offset,
      d_log_sum_exp_offset: dLogSumExp?.offset ?? 0,
      o_strides: output.strides,
      d_output_strides: dOutput.strides,
      d_log_sum_exp_strides: dLogSumExp?.strides ?? [0, 0, 0],
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}
