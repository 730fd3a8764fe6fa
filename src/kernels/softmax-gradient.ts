import shader from '../../shaders/softmax/gradient.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { rowPitch } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, readsQuads, type Operand } from './launch.ts';
import { chooseRowLanes, rowsPerWorkgroup } from './rows.ts';
import { scoreConstants, scoreParams, type Scores } from './score.ts';
import { visibilityParams, type Visibility } from './visibility.ts';

export interface SoftmaxGradientProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** [B, H, Nq, Nk]. */
  readonly shape: readonly [number, number, number, number];
  readonly xDType: FloatDType;
  /** Of the weights' gradient, and of the row-major output. */
  readonly dtype: FloatDType;
  readonly x: Operand;
  readonly dWeights: Operand;
  readonly scale: number;
  readonly visibility: Visibility;
  readonly scores: Scores;
  /** The rows' values are the gradients of log-sum-exps. */
  readonly hasDLogSumExp: boolean;
  /** Into the rows' values. */
  readonly writesDSinks: boolean;
  readonly writesDScores: boolean;
}

export function planSoftmaxGradient(problem: SoftmaxGradientProblem, traits: Traits): Launch {
  const { op, dtype, x, dWeights, scores } = problem;
  const [batch, heads, queryLength, keyLength] = problem.shape;
  const rows = batch * heads * queryLength;
  const groups = Math.ceil(rows / rowsPerWorkgroup(keyLength, traits));
  return {
    shader,
    constants: {
      LANES: chooseRowLanes(keyLength, traits),
      IN_F16: problem.xDType === 'float16',
      OUT_F16: dtype === 'float16',
      ...scoreConstants(scores),
    },
    params: {
      groups,
      heads,
      rows,
      query_length: queryLength,
      key_length: keyLength,
      scale: problem.scale,
      x_strides: x.strides,
      x_offset: x.offset,
      vector_loads: readsQuads(x, 3) ? 1 : 0,
      d_weights_strides: dWeights.strides,
      d_weights_offset: dWeights.offset,
      d_weights_vector_loads: readsQuads(dWeights, 3) ? 1 : 0,
      output_pitch: rowPitch(keyLength, dtype),
      has_d_log_sum_exp: problem.hasDLogSumExp ? 1 : 0,
      writes_d_sinks: problem.writesDSinks ? 1 : 0,
      writes_d_scores: problem.writesDScores ? 1 : 0,
      ...visibilityParams(problem.visibility),
      ...scoreParams(scores),
    },
    workgroups: foldWorkgroups(op, groups, traits),
    ...(scores.modifiers && { insertions: scores.modifiers.gradientInsertions }),
  };
}
