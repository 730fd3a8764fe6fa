/** Cross-entropy of rows of logits and its gradient: the kernels of shaders/cross-entropy. */
import shader from '../../shaders/cross-entropy/cross-entropy.wgsl';
import gradientShader from '../../shaders/cross-entropy/gradient.wgsl';
import totalShader from '../../shaders/cross-entropy/total.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { rowPitch } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, operandFields, readsVectors, type Operand } from './launch.ts';
import { chooseRowLanes, rowsPerWorkgroup, vectorWidth } from './rows.ts';

export interface CrossEntropyProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly rows: number;
  readonly classes: number;
  readonly dtype: FloatDType;
  /** [rows, classes]. */
  readonly logits: Operand;
  readonly targetsOffset: number;
  /** A target that has no loss, as 32 bits. */
  readonly ignored?: number;
  readonly smoothing: number;
}

/** The target of each row, and whether it has a loss. */
type Targets = Pick<CrossEntropyProblem, 'targetsOffset' | 'ignored'>;

/** Twin of the uniform struct `TargetParams` (shaders/cross-entropy/parts/targets.wgsl). */
function targetFields({ targetsOffset, ignored }: Targets) {
  return { offset: targetsOffset, ignores: ignored === undefined ? 0 : 1, ignored: ignored ?? 0 };
}

export function planCrossEntropy(problem: CrossEntropyProblem, traits: Traits): Launch {
  const { op, rows, classes, dtype, logits, smoothing } = problem;
  const groups = Math.ceil(rows / rowsPerWorkgroup(classes, traits));
  return {
    shader,
    constants: { LANES: chooseRowLanes(classes, traits), F16: dtype === 'float16', WHOLE: isWhole(problem, traits) },
    params: {
      groups,
      rows,
      classes,
      smoothing,
      logits: operandFields(logits),
      targets: targetFields(problem),
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}

/** Whether rows are whole vectors, on a GPU: a CPU driver loads no faster for it. */
function isWhole({ classes, dtype, logits }: CrossEntropyProblem, { isSoftware }: Traits): boolean {
  const width = vectorWidth(dtype);
  return !isSoftware && classes % width === 0 && readsVectors(logits, 1, width);
}

export function planCrossEntropyTotal(
  { rows, ...targets }: Targets & { readonly rows: number },
  isMean: boolean,
): Launch {
  return {
    shader: totalShader,
    constants: {},
    params: { rows, is_mean: isMean ? 1 : 0, targets: targetFields(targets) },
    workgroups: [1, 1, 1],
  };
}

const GRADIENT_WORKGROUP = 256;
/** On GPUs, rows of at least as many workgroups have workgroups of their own: few invocations of the last one are idle. */
const OWN_WORKGROUPS = 4;

export function planCrossEntropyGradient(
  problem: CrossEntropyProblem,
  /** Where the gradient of the loss lies: one for all rows, or one each. */
  dLoss: { readonly offset: number; readonly isByRow: boolean },
  hasShare: boolean,
  traits: Traits,
): Launch {
  const { op, rows, classes, dtype, logits, smoothing } = problem;
  const whole = isWhole(problem, traits);
  const rowQuads = Math.ceil(classes / (whole ? vectorWidth(dtype) : 4));
  const isOneRow = !traits.isSoftware && rowQuads >= OWN_WORKGROUPS * GRADIENT_WORKGROUP;
  const rowGroups = Math.ceil(rowQuads / GRADIENT_WORKGROUP);
  const groups = isOneRow ? rows * rowGroups : Math.ceil((rows * rowQuads) / GRADIENT_WORKGROUP);
  return {
    shader: gradientShader,
    constants: { F16: dtype === 'float16', WHOLE: whole, ONE_ROW: isOneRow },
    params: {
      rows,
      row_quads: rowQuads,
      row_groups: rowGroups,
      classes,
      smoothing,
      logits: operandFields(logits),
      targets: targetFields(problem),
      d_loss_stride: dLoss.isByRow ? 1 : 0,
      d_loss_offset: dLoss.offset,
      has_share: hasShare ? 1 : 0,
      output_pitch: rowPitch(classes, dtype),
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}
