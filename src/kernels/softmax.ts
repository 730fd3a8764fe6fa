import shader from '../../shaders/softmax/softmax.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { rowPitch } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, readsQuads, type Operand } from './launch.ts';
import { chooseRowLanes, rowsPerWorkgroup } from './rows.ts';
import { scoreConstants, scoreParams, type Scores } from './score.ts';
import { visibilityParams, type Visibility } from './visibility.ts';

export interface SoftmaxProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** [B, H, Nq, Nk]. */
  readonly shape: readonly [number, number, number, number];
  readonly inDType: FloatDType;
  readonly outDType: FloatDType;
  readonly x: Operand;
  readonly scale: number;
  readonly visibility: Visibility;
  readonly scores: Scores;
  readonly writesLogSumExp: boolean;
  /** After which stage the scores are written too. */
  readonly writesScores?: ScoresStage;
}

/** Scores as they are after scaling, after softcap, or with all that is added, and −∞ where hidden. */
export type ScoresStage = 'scaled' | 'capped' | 'masked';
const STAGES = { scaled: 1, capped: 2, masked: 3 } as const;

export function planSoftmax(problem: SoftmaxProblem, traits: Traits): Launch {
  const [batch, heads, queryLength, keyLength] = problem.shape;
  const rows = batch * heads * queryLength;
  const groups = Math.ceil(rows / rowsPerWorkgroup(keyLength, traits));
  return {
    shader,
    constants: {
      LANES: chooseRowLanes(keyLength, traits),
      IN_F16: problem.inDType === 'float16',
      OUT_F16: problem.outDType === 'float16',
      ...scoreConstants(problem.scores),
    },
    params: {
      groups,
      heads,
      rows,
      query_length: queryLength,
      key_length: keyLength,
      scale: problem.scale,
      x_strides: problem.x.strides,
      x_offset: problem.x.offset,
      vector_loads: readsQuads(problem.x, 3) ? 1 : 0,
      output_pitch: rowPitch(keyLength, problem.outDType),
      writes_log_sum_exp: problem.writesLogSumExp ? 1 : 0,
      scores_stage: problem.writesScores ? STAGES[problem.writesScores] : 0,
      ...visibilityParams(problem.visibility),
      ...scoreParams(problem.scores),
    },
    workgroups: foldWorkgroups(problem.op, groups, traits),
    ...(problem.scores.modifiers && { insertions: problem.scores.modifiers.insertions }),
  };
}
