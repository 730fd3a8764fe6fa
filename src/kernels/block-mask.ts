import shader from '../../shaders/attention/block-mask.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { foldWorkgroups, type Limits } from './launch.ts';
import { modifierParams, type Modifiers } from './modifiers.ts';

export interface BlockMaskProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly batch: number;
  readonly heads: number;
  readonly queryLength: number;
  readonly keyLength: number;
  /** Queries, and keys, of a block. */
  readonly blockSize: number;
  /** The mask modifier. */
  readonly modifiers: Modifiers;
  /** Words at which the captured tensors begin in the binding `table`. */
  readonly capturesAt: readonly number[];
}

/** A workgroup for each block. */
export function planBlockMask(problem: BlockMaskProblem, limits: Limits): Launch {
  const { op, heads, queryLength, keyLength, blockSize, modifiers, capturesAt } = problem;
  const [rows, columns] = [Math.ceil(queryLength / blockSize), Math.ceil(keyLength / blockSize)];
  const groups = problem.batch * heads * rows * columns;
  return {
    shader,
    constants: {},
    insertions: modifiers.insertions,
    params: {
      groups,
      heads,
      rows,
      columns,
      query_length: queryLength,
      key_length: keyLength,
      block_size: blockSize,
      ...modifierParams(modifiers, capturesAt),
    },
    workgroups: foldWorkgroups(op, groups, limits),
  };
}
