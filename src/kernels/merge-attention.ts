import shader from '../../shaders/attention/merge.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { foldWorkgroups, type Limits, type Operand } from './launch.ts';

/** Partial results in float32, row-major [parts, batch, heads, rows, valueDim], with their log-sum-exp. */
export interface MergeProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly parts: number;
  readonly batch: number;
  readonly heads: number;
  readonly queryLength: number;
  readonly valueDim: number;
  readonly dtype: FloatDType;
  readonly output: Operand;
  readonly writesLogSumExp: boolean;
}

const WORKGROUP = 64;

export function planMergeAttention(problem: MergeProblem, limits: Limits): Launch {
  const { op, parts, batch, heads, queryLength, valueDim, dtype, output } = problem;
  const rows = batch * heads * queryLength;
  const quads = Math.ceil(valueDim / 4);
  const groups = Math.ceil((rows * quads) / WORKGROUP);
  return {
    shader,
    constants: { OUT_F16: dtype === 'float16' },
    params: {
      groups,
      parts,
      heads,
      query_length: queryLength,
      rows,
      value_dim: valueDim,
      quads,
      output_strides: output.strides,
      writes_log_sum_exp: problem.writesLogSumExp ? 1 : 0,
    },
    workgroups: foldWorkgroups(op, groups, limits),
  };
}
