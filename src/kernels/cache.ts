/** Writing into the storage of a cache: keys [blocks, Hkv, slots, D] and values [blocks, Hkv, slots, Dv]. */
import appendShader from '../../shaders/cache/append.wgsl';
import copyShader from '../../shaders/cache/copy-pages.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { largestOf } from '../tensor/shape.ts';
import { BITS, isCoded, rowGroups, rowWords, type RowFormat } from './codes.ts';
import { foldWorkgroups, operandFields, type Limits, type Operand } from './launch.ts';

/** Where the rows of an append go. */
export type AppendPlaces =
  /**
   * Batch entry b has block b. Position p is in slot p while p < `kept`, and otherwise on a ring of the other slots (at least
   * one). `position` is the position of row 0.
   */
  | { readonly kind: 'ring'; readonly position: number; readonly kept: number }
  /** Blocks are pages. `copies` are made first. */
  | { readonly kind: 'paged'; readonly entries: readonly PagedRows[]; readonly copies: readonly PageCopy[] };

/** Where the rows of one batch entry go in pages. */
export interface PagedRows {
  /** Position of row 0. */
  readonly position: number;
  /** How many of the rows are real, counted from the first. */
  readonly count: number;
  /** The pages that are written to, starting with the page of row 0. */
  readonly pages: readonly number[];
}

/** Copies the first `rows` rows of page `from` to page `to`. */
export interface PageCopy {
  readonly from: number;
  readonly to: number;
  readonly rows: number;
}

export interface AppendProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly batch: number;
  readonly kvHeads: number;
  /** New rows of each batch entry and head: N. */
  readonly length: number;
  readonly inDType: FloatDType;
  /** Rows of the storage. */
  readonly keys: RowFormat;
  readonly values: RowFormat;
  /** Whether rows are words that are copied, whatever they mean; their dtype is then float32. */
  readonly isRaw?: boolean;
  /** Whether keys of 4 bits are multiplied by Hadamard matrices first. */
  readonly hadamard?: boolean;
  readonly k: Operand;
  readonly v: Operand;
  /** Rows of a block of the storage: the capacity, or the page size. */
  readonly slots: number;
  readonly places: AppendPlaces;
  readonly rotary?: {
    /** Elements of a key that are rotated. */
    readonly dim: number;
    readonly interleaved: boolean;
    /** `cos` and `sin` are both [P, dim / 2]. */
    readonly cos: Operand;
    readonly sin: Operand;
  };
}

export interface AppendPlan {
  /** The uint32 that both shaders read as `table`: the copies, then a row for each entry. */
  readonly table?: readonly number[];
  readonly copy?: Launch;
  readonly append: Launch;
}

const APPEND_WORKGROUP = 64;
const COPY_WORKGROUP = 256;
const NO_ROTARY = {
  dim: 0,
  interleaved: false,
  cos: { strides: [0, 0], offset: 0 },
  sin: { strides: [0, 0], offset: 0 },
};

/** Fill the one of the two structs that `PAGED` leaves unread. */
const NO_RING = { position: 0, kept: 0, slots: 0, head_rows: 0, gap: 0 };
const NO_PAGES = { slots: 0, table_at: 0, table_row: 0 };

/** Writes new keys and values into the storage of a cache: one dispatch, and one before it if pages are copied. */
export function planAppend(problem: AppendProblem, limits: Limits): AppendPlan {
  const { length, slots, places } = problem;
  if (places.kind === 'ring') {
    const ring = ringFields(places, length, slots);
    return { append: planRows(problem, length - ring.gap, { ring, page: NO_PAGES }, limits) };
  }
  const copied = places.copies.flatMap(({ from, to, rows }) => [from, to, rows]);
  const pitch = 2 + largestOf(places.entries.map(({ pages }) => pages.length));
  const page = { slots, table_at: copied.length, table_row: pitch };
  return {
    append: planRows(problem, length, { ring: NO_RING, page }, limits),
    table: [...copied, ...places.entries.flatMap((entry) => tableRow(entry, pitch))],
    ...(copied.length > 0 && { copy: planCopy(problem, places.copies.length, limits) }),
  };
}

/** Leaves out rows that later rows of the same call would overwrite, so that no two invocations write the same slot. */
function ringFields({ position, kept }: { position: number; kept: number }, length: number, slots: number) {
  const ring = slots - kept;
  const head = Math.min(length, Math.max(0, kept - position));
  return { position, kept, slots: ring, head_rows: head, gap: Math.max(0, length - head - ring) };
}

/** Writes `rows` rows of each batch entry and head. */
function planRows(
  problem: AppendProblem,
  rows: number,
  where: { readonly ring: typeof NO_RING; readonly page: typeof NO_PAGES },
  limits: Limits,
): Launch {
  const { op, batch, kvHeads, keys, values, inDType, places } = problem;
  const { dim, interleaved, cos, sin } = problem.rotary ?? NO_ROTARY;
  const count = batch * kvHeads * rows;
  const units = count * (rowUnits(keys) + rowUnits(values));
  return {
    shader: appendShader,
    constants: {
      IN_F16: inDType === 'float16',
      K_BITS: BITS[keys.dtype],
      V_BITS: BITS[values.dtype],
      ...(problem.hadamard && { HADAMARD: true }),
      ...(problem.isRaw && { RAW: true }),
      PAGED: places.kind === 'paged',
    },
    params: {
      units,
      key_units: count * rowUnits(keys),
      kv_heads: kvHeads,
      rows,
      ...where,
      k: rowFields(problem.k, keys),
      v: rowFields(problem.v, values),
      rotary: { dim, is_interleaved: interleaved ? 1 : 0, cos: operandFields(cos), sin: operandFields(sin) },
    },
    workgroups: foldWorkgroups(op, Math.ceil(units / APPEND_WORKGROUP), limits),
  };
}

/** Copies pages inside the storage. */
function planCopy(problem: AppendProblem, copies: number, limits: Limits): Launch {
  const { op, kvHeads, slots } = problem;
  const [keys, values] = [problem.keys, problem.values].map((format) => {
    const words = rowWords(format);
    return { words: kvHeads * slots * words, row_words: words };
  });
  const words = copies * (keys.words + values.words);
  return {
    shader: copyShader,
    constants: {},
    params: { words, page_size: slots, keys, values },
    workgroups: foldWorkgroups(op, Math.ceil(words / COPY_WORKGROUP), limits),
  };
}

function tableRow({ position, count, pages }: PagedRows, pitch: number): number[] {
  return [position, count, ...pages, ...Array.from({ length: pitch - 2 - pages.length }, () => 0)];
}

/** What one invocation writes is a unit: a word, or a group of codes. */
function rowUnits(format: RowFormat): number {
  return isCoded(format.dtype) ? rowGroups(format) : rowWords(format);
}

/** Twin of the uniform struct `RowParams`. */
function rowFields(operand: Operand, format: RowFormat) {
  const { dim } = format;
  return { operand: operandFields(operand), dim, row_words: rowWords(format), row_units: rowUnits(format) };
}
