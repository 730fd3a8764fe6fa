import shader from '../../shaders/embedding/merge-ids.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { foldWorkgroups, type Limits } from './launch.ts';

export interface MergeIdsProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly count: number;
  /** Ids of a run. */
  readonly run: number;
}

const WORKGROUP = 64;

export function planMergeIds({ op, count, run }: MergeIdsProblem, limits: Limits): Launch {
  return {
    shader,
    constants: {},
    params: { count, run },
    workgroups: foldWorkgroups(op, Math.ceil(count / WORKGROUP), limits),
  };
}
