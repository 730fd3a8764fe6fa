import shader from '../../shaders/attention-gradient/sinks.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { foldWorkgroups, type Limits } from './launch.ts';

export interface GradientSinksProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  /** Words of `table`. */
  readonly statsAt: number;
  readonly sinksAt: number;
}

/** A workgroup for each head. */
export function planAttentionGradientSinks(problem: GradientSinksProblem, limits: Limits): Launch {
  const { op, batch, heads, length, statsAt, sinksAt } = problem;
  return {
    shader,
    constants: {},
    params: {
      groups: heads,
      heads,
      length,
      rows: batch * length,
      stats_at: statsAt,
      stats_pitch: batch * heads * length,
      sinks_at: sinksAt,
    },
    workgroups: foldWorkgroups(op, heads, limits),
  };
}
