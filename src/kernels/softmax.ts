/** Masked softmax over rows and its gradient: the kernels of shaders/softmax. */
import gradientShader from '../../shaders/softmax/gradient.wgsl';
import shader from '../../shaders/softmax/softmax.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { rowPitch } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { optionParams, type OptionFields } from './attention.ts';
import { foldWorkgroups, operandFields, readsVectors, type Operand } from './launch.ts';
import { chooseHeldVectors, chooseRowLanes, rowsPerWorkgroup, vectorWidth } from './rows.ts';

/** Rows of scores. */
export interface SoftmaxRows {
  /** The op's name, for errors. */
  readonly op: string;
  /** [B, H, Nq, Nk]. */
  readonly shape: readonly [number, number, number, number];
  readonly xDType: FloatDType;
  readonly x: Operand;
  readonly options: OptionFields;
}

export interface SoftmaxProblem extends SoftmaxRows {
  /** Dtype of the weights. */
  readonly dtype: FloatDType;
  readonly writesLogSumExp: boolean;
  /** After which stage the scores are written too. */
  readonly writesScores?: ScoresStage;
}

/** Scores after scaling, after softcap, or with everything that is added, and −∞ for hidden keys. */
export type ScoresStage = 'scaled' | 'capped' | 'masked';
const STAGES = { scaled: 1, capped: 2, masked: 3 } as const;

export function planSoftmax(problem: SoftmaxProblem, traits: Traits): Launch {
  const { dtype, writesScores } = problem;
  const { constants, ...launch } = rowsLaunch(problem, dtype, traits, {
    writes_log_sum_exp: problem.writesLogSumExp ? 1 : 0,
    scores_stage: writesScores ? STAGES[writesScores] : 0,
    holds_vectors: holdsVectors(problem) && !writesScores ? 1 : 0,
  });
  return {
    ...launch,
    constants: { ...constants, HELD: heldVectors(problem, dtype, traits) },
    shader,
    insertions: problem.options.insertions,
  };
}

/** Vectors of a row that an invocation keeps. The work is written out for each of them, so there is to be little of it. */
function heldVectors({ xDType, options }: SoftmaxRows, dtype: FloatDType, traits: Traits): number {
  const { MODIFIES_SCORES, HAS_MASK_MOD, HAS_DROPOUT } = options.constants;
  const isShort = !MODIFIES_SCORES && !HAS_MASK_MOD && !HAS_DROPOUT;
  return isShort && xDType === dtype ? chooseHeldVectors(dtype, traits) : 0;
}

/** Whether rows are whole vectors, in which only the band and the ends of sequences hide keys. */
function holdsVectors({ shape, xDType, x, options }: SoftmaxRows): boolean {
  const width = vectorWidth(xDType);
  const { mask_kind, has_key_mask } = options.fields['visibility'];
  return shape[3] % width === 0 && readsVectors(x, 3, width) && !mask_kind && !has_key_mask;
}

export interface SoftmaxGradientProblem extends SoftmaxRows {
  /** Dtype of the weights' gradient, and of the row-major output. */
  readonly dtype: FloatDType;
  readonly dWeights: Operand;
  /** The rows' values are the gradients of log-sum-exps. */
  readonly hasDLogSumExp: boolean;
  /** Into the rows' values. */
  readonly writesDSinks: boolean;
  readonly writesDScores: boolean;
}

export function planSoftmaxGradient(problem: SoftmaxGradientProblem, traits: Traits): Launch {
  const { dtype, dWeights, writesDScores } = problem;
  const { constants, ...launch } = rowsLaunch(problem, dtype, traits, {
    d_weights: operandFields(dWeights),
    has_d_log_sum_exp: problem.hasDLogSumExp ? 1 : 0,
    writes_d_sinks: problem.writesDSinks ? 1 : 0,
    writes_d_scores: writesDScores ? 1 : 0,
    holds_vectors: holdsVectors(problem) && readsVectors(dWeights, 3, vectorWidth(dtype)) && !writesDScores ? 1 : 0,
  });
  return {
    ...launch,
    constants: { ...constants, HELD: heldVectors(problem, dtype, traits) },
    shader: gradientShader,
    insertions: problem.options.gradientInsertions,
  };
}

/** The launch that both kernels share, for an output of a dtype. `own` are the uniform fields of one of them. */
function rowsLaunch({ op, shape, xDType, x, options }: SoftmaxRows, dtype: FloatDType, traits: Traits, own: object) {
  const [batch, heads, queryLength, keyLength] = shape;
  const rows = batch * heads * queryLength;
  const groups = Math.ceil(rows / rowsPerWorkgroup(keyLength, traits));
  // the kernel skips keys one by one, so the modifier of a block mask is enough, without its blocks
  const { HAS_BLOCK_MASK: _, ...constants } = options.constants;
  return {
    constants: {
      LANES: chooseRowLanes(keyLength, traits),
      IN_F16: xDType === 'float16',
      OUT_F16: dtype === 'float16',
      ...constants,
    },
    params: {
      groups,
      heads,
      rows,
      output_pitch: rowPitch(keyLength, dtype),
      sinks: options.fields.sinks,
      x: operandFields(x),
      options: optionParams(options, queryLength, keyLength),
      ...own,
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}
