import shader from '../../shaders/attention-gradient/merge.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { rowPitch } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups } from './launch.ts';
import { chooseRowLanes, rowsPerWorkgroup } from './rows.ts';

export interface MergeGradientProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly parts: number;
  /** Of each part's output. */
  readonly rows: number;
  readonly valueDim: number;
  /** Of the gradients of the parts' outputs. */
  readonly dtype: FloatDType;
  /** Of the merged output and of its log-sum-exp. */
  readonly hasGradient: boolean;
  readonly hasLogSumExpGradient: boolean;
}

export function planMergeAttentionGradient(problem: MergeGradientProblem, traits: Traits): Launch {
  const { op, parts, rows, valueDim, dtype } = problem;
  const groups = Math.ceil(rows / rowsPerWorkgroup(valueDim, traits));
  return {
    shader,
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
