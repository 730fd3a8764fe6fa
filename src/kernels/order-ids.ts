import shader from '../../shaders/embedding/order-ids.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { foldWorkgroups, type Limits } from './launch.ts';

export interface OrderIdsProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly count: number;
  /** First of the ids, which are neighbours. */
  readonly idsOffset: number;
}

const WORKGROUP = 64;

/** Ids of a run: twin of the constant of order-ids.wgsl. */
export const RUN = 1024;

export function planOrderIds({ op, count, idsOffset }: OrderIdsProblem, limits: Limits): Launch {
  return {
    shader,
    constants: { RUN },
    params: { count, ids_offset: idsOffset },
    workgroups: foldWorkgroups(op, Math.ceil(count / WORKGROUP), limits),
  };
}
