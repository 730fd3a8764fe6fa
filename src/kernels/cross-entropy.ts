import shader from '../../shaders/cross-entropy/cross-entropy.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, readsQuads, type Operand } from './launch.ts';
import { chooseRowLanes, rowsPerWorkgroup } from './rows.ts';

export interface CrossEntropyProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly rows: number;
  readonly classes: number;
  readonly dtype: FloatDType;
  /** [rows, classes]. */
  readonly logits: Operand;
  readonly targetsOffset: number;
  /** A target that has no loss, as the 32 bits that it is stored as. */
  readonly ignored?: number;
  readonly smoothing: number;
}

/** Uniform fields that name the target which has no loss. */
export function ignoredParams(ignored: number | undefined) {
  return { ignores: ignored === undefined ? 0 : 1, ignored: ignored ?? 0 };
}

export function planCrossEntropy(problem: CrossEntropyProblem, traits: Traits): Launch {
  const { op, rows, classes, dtype, logits, targetsOffset, ignored, smoothing } = problem;
  const groups = Math.ceil(rows / rowsPerWorkgroup(classes, traits));
  return {
    shader,
    constants: { LANES: chooseRowLanes(classes, traits), F16: dtype === 'float16' },
    params: {
      groups,
      rows,
      classes,
      smoothing,
      ...ignoredParams(ignored),
      logits_strides: logits.strides,
      logits_offset: logits.offset,
      targets_offset: targetsOffset,
      vector_loads: readsQuads(logits, 1) ? 1 : 0,
    },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}
