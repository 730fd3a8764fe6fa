import shader from '../../shaders/cache/copy-pages.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { rowWords } from './append.ts';
import { foldWorkgroups, type Limits } from './launch.ts';

/** The first `rows` rows of page `from` are to be in page `to` too. */
export interface PageCopy {
  readonly from: number;
  readonly to: number;
  readonly rows: number;
}

export interface CopyPagesProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly copies: number;
  readonly kvHeads: number;
  readonly pageSize: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly dtype: FloatDType;
}

const WORKGROUP = 256;

/** Copies pages of a cache inside its storage: one dispatch. */
export function planCopyPages(problem: CopyPagesProblem, limits: Limits): Launch {
  const { op, copies, kvHeads, pageSize, keyDim, valueDim, dtype } = problem;
  const keyRowWords = rowWords(keyDim, dtype);
  const valueRowWords = rowWords(valueDim, dtype);
  const words = copies * kvHeads * pageSize * (keyRowWords + valueRowWords);
  return {
    shader,
    constants: {},
    params: {
      words,
      key_words: kvHeads * pageSize * keyRowWords,
      value_words: kvHeads * pageSize * valueRowWords,
      key_row_words: keyRowWords,
      value_row_words: valueRowWords,
      page_size: pageSize,
    },
    workgroups: foldWorkgroups(op, Math.ceil(words / WORKGROUP), limits),
  };
}

/** The table that the shader reads. */
export function copyTable(copies: readonly PageCopy[]): number[] {
  return copies.flatMap(({ from, to, rows }) => [from, to, rows]);
}
