import shader from '../../shaders/cross-entropy/gradient.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { rowPitch } from '../tensor/shape.ts';
import { ignoredParams, type CrossEntropyProblem } from './cross-entropy.ts';
import { foldWorkgroups, readsQuads, type Limits } from './launch.ts';

const WORKGROUP = 256;

export function planCrossEntropyGradient(
  problem: CrossEntropyProblem,
  /** Of the loss: one for all rows, or one each. */
  dLoss: { readonly offset: number; readonly isByRow: boolean },
  hasShare: boolean,
  limits: Limits,
): Launch {
  const { op, rows, classes, dtype, logits, targetsOffset, ignored, smoothing } = problem;
  const rowQuads = Math.ceil(classes / 4);
  const quads = rows * rowQuads;
  return {
    shader,
    constants: { F16: dtype === 'float16' },
    params: {
      quads,
      row_quads: rowQuads,
      classes,
      smoothing,
      ...ignoredParams(ignored),
      logits_strides: logits.strides,
      logits_offset: logits.offset,
      targets_offset: targetsOffset,
      d_loss_stride: dLoss.isByRow ? 1 : 0,
      d_loss_offset: dLoss.offset,
      has_share: hasShare ? 1 : 0,
      output_pitch: rowPitch(classes, dtype),
      vector_loads: readsQuads(logits, 1) ? 1 : 0,
    },
    workgroups: foldWorkgroups(op, Math.ceil(quads / WORKGROUP), limits),
  };
}
