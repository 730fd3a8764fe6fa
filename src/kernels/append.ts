import shader from '../../shaders/cache/append.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { BYTES, type FloatDType } from '../tensor/dtype.ts';
import { rowPitch } from '../tensor/shape.ts';
import { foldWorkgroups, type Limits, type Operand } from './launch.ts';

/** Which slots of its storage the rows of an append go to. */
export type Slots =
  /**
   * Position p lies in slot p while p < `kept`, else on a ring of the other slots; all slots kept, the rows lie one behind
   * the other. `position` is that of row 0.
   */
  | { readonly kind: 'ring'; readonly position: number; readonly kept: number }
  /** By a table of `pageTable`, which begins at word `tableOffset` and has rows of `tableRow` words. */
  | { readonly kind: 'paged'; readonly tableOffset: number; readonly tableRow: number };

export interface AppendProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly batch: number;
  readonly kvHeads: number;
  /** New rows of each batch entry and head: N. */
  readonly length: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly inDType: FloatDType;
  readonly cacheDType: FloatDType;
  readonly k: Operand;
  readonly v: Operand;
  /** Rows of a block of the storage: the capacity, or the page size. */
  readonly slotsPerBlock: number;
  readonly slots: Slots;
  readonly rotary?: {
    /** Elements of a key that are rotated. */
    readonly dim: number;
    readonly interleaved: boolean;
    /** [P, dim / 2] both. */
    readonly cos: Operand;
    readonly sin: Operand;
  };
}

const WORKGROUP = 64;
const NOWHERE: Operand = { strides: [0, 0], offset: 0 };

/** Writes new keys and values into the storage of a cache: one dispatch. */
export function planAppend(problem: AppendProblem, limits: Limits): Launch {
  const { op, batch, kvHeads, keyDim, valueDim, inDType, cacheDType, k, v, slotsPerBlock, slots, rotary } = problem;
  const { cos = NOWHERE, sin = NOWHERE } = rotary ?? {};
  const rows = rowsWritten(problem);
  const keyRowWords = rowWords(keyDim, cacheDType);
  const valueRowWords = rowWords(valueDim, cacheDType);
  const count = batch * kvHeads * rows.written;
  const words = count * (keyRowWords + valueRowWords);
  const kept = slots.kind === 'ring' ? slots.kept : 0;
  return {
    shader,
    constants: { IN_F16: inDType === 'float16', CACHE_F16: cacheDType === 'float16' },
    params: {
      key_words: count * keyRowWords,
      words,
      key_row_words: keyRowWords,
      value_row_words: valueRowWords,
      key_dim: keyDim,
      value_dim: valueDim,
      kv_heads: kvHeads,
      rows: rows.written,
      head_rows: rows.head,
      gap: rows.gap,
      position: slots.kind === 'ring' ? slots.position : 0,
      kept,
      ring: Math.max(1, slotsPerBlock - kept),
      slots: slotsPerBlock,
      page_size: slots.kind === 'paged' ? slotsPerBlock : 0,
      table_offset: slots.kind === 'paged' ? slots.tableOffset : 0,
      table_row: slots.kind === 'paged' ? slots.tableRow : 0,
      rotary_dim: rotary?.dim ?? 0,
      is_interleaved: rotary?.interleaved ? 1 : 0,
      k_offset: k.offset,
      v_offset: v.offset,
      cos_offset: cos.offset,
      sin_offset: sin.offset,
      k_strides: k.strides,
      v_strides: v.strides,
      cos_strides: cos.strides,
      sin_strides: sin.strides,
    },
    workgroups: foldWorkgroups(op, Math.ceil(words / WORKGROUP), limits),
  };
}

/** 32-bit words of a row of storage. */
export function rowWords(dim: number, dtype: FloatDType): number {
  return (rowPitch(dim, dtype) * BYTES[dtype]) / 4;
}

/**
 * Rows that are written: `head` of them, then, after `gap`, the others. On a ring, rows that later ones of the same call
 * would overwrite are left out: no two invocations write one slot.
 */
function rowsWritten({ length, slots, slotsPerBlock }: AppendProblem): { written: number; head: number; gap: number } {
  if (slots.kind === 'paged') return { written: length, head: length, gap: 0 };
  const head = Math.min(length, Math.max(0, slots.kept - slots.position));
  const gap = Math.max(0, length - head - (slotsPerBlock - slots.kept));
  return { written: length - gap, head, gap };
}

/** Where the rows of one batch entry go in paged storage. */
export interface PagedRows {
  /** Of row 0. */
  readonly position: number;
  /** How many of the rows are real. */
  readonly count: number;
  /** The pages that are written to, from that of row 0 on. */
  readonly pages: readonly number[];
}

/** The table that the shader reads: for each entry its position, its count and its pages, in rows of one length. */
export function pageTable(entries: readonly PagedRows[]): { words: number[]; row: number } {
  const row = 2 + Math.max(...entries.map(({ pages }) => pages.length));
  const words = entries.flatMap(({ position, count, pages }) => [
    position,
    count,
    ...pages,
    ...Array.from({ length: row - 2 - pages.length }, () => 0),
  ]);
  return { words, row };
}
