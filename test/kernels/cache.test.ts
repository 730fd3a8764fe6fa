import { describe, expect, test } from 'vitest';
import { planAppend, type AppendPlaces, type AppendProblem, type PageCopy } from '../../src/kernels/cache.ts';
import type { RowFormat } from '../../src/kernels/codes.ts';
import type { CacheDType } from '../../src/tensor/dtype.ts';
import { DEFAULTS, dense, frozen } from './problems.ts';

const rows = (dim: number, dtype: CacheDType = 'float32'): RowFormat => ({ dim, dtype });

function problem(given: Partial<AppendProblem> = {}): AppendProblem {
  const { batch = 2, kvHeads = 3, length = 4, keys = rows(5), values = rows(7) } = given;
  return {
    op: 'test',
    batch,
    kvHeads,
    length,
    inDType: 'float32',
    keys,
    values,
    k: dense(batch, kvHeads, length, keys.dim),
    v: dense(batch, kvHeads, length, values.dim),
    slots: 10,
    places: { kind: 'ring', position: 0, kept: 0 },
    ...given,
  };
}

const paramsOf = (given: Partial<AppendProblem>) => planAppend(problem(given), DEFAULTS).append.params;

/** Pages for two entries. */
function paged(copies: readonly PageCopy[] = []): AppendPlaces {
  const entries = [
    { position: 5, count: 3, pages: [7, 9] },
    { position: 0, count: 0, pages: [] },
  ];
  return { kind: 'paged', entries, copies };
}

const COPIES = [
  { from: 4, to: 9, rows: 3 },
  { from: 0, to: 1, rows: 15 },
];

describe('planAppend', () => {
  test('is a pure function', () => {
    for (const places of [problem().places, paged(COPIES)]) {
      const given = frozen(problem({ places }));
      expect(planAppend(given, DEFAULTS)).toEqual(planAppend(given, DEFAULTS));
    }
  });

  test.each([
    ['float32', 5, 7],
    ['float16', 3, 4],
  ] as const)('of %s storage: %d words of a key and %d of a value, one invocation each', (dtype, key, value) => {
    expect(planAppend(problem({ keys: rows(5, dtype), values: rows(7, dtype) }), DEFAULTS).append).toMatchObject({
      constants: { IN_F16: false, K_BITS: dtype === 'float16' ? 16 : 32, PAGED: false },
      params: {
        key_units: 24 * key,
        units: 24 * (key + value),
        k: { operand: { offset: 0 }, dim: 5, row_words: key, row_units: key },
        v: { operand: { offset: 0 }, dim: 7, row_words: value, row_units: value },
      },
      workgroups: [Math.ceil((24 * (key + value)) / 64), 1, 1],
    });
  });

  test('of codes: one invocation for each group, with its scale', () => {
    const plan = planAppend(problem({ keys: rows(70, 'int8'), values: rows(70, 'int4') }), DEFAULTS).append;
    expect(plan).toMatchObject({
      constants: { K_BITS: 8, V_BITS: 4 },
      params: { key_units: 24, units: 24 * 4, k: { row_words: 19, row_units: 1 }, v: { row_words: 12, row_units: 3 } },
      workgroups: [2, 1, 1],
    });
  });

  test.each<[string, AppendPlaces, number, [rows: number, head: number, gap: number]]>([
    ['a ring with room', { kind: 'ring', position: 3, kept: 0 }, 7, [7, 0, 0]],
    ['a ring that wraps', { kind: 'ring', position: 93, kept: 0 }, 10, [10, 0, 0]],
    ['more than a ring holds', { kind: 'ring', position: 93, kept: 0 }, 14, [10, 0, 4]],
    ['sinks and more than the ring holds', { kind: 'ring', position: 0, kept: 3 }, 14, [10, 3, 4]],
    ['the last sink and more than the ring holds', { kind: 'ring', position: 2, kept: 3 }, 9, [8, 1, 1]],
    ['after the sinks', { kind: 'ring', position: 3, kept: 3 }, 8, [7, 0, 1]],
  ])('%s', (_name, places, length, [rows, head, gap]) => {
    expect(paramsOf({ places, length })).toMatchObject({ rows, ring: { head_rows: head, gap } });
  });

  test('leaves out no row of pages', () => {
    const { append } = planAppend(problem({ places: paged(), length: 30 }), DEFAULTS);
    expect(append).toMatchObject({ constants: { PAGED: true }, params: { rows: 30, page: { slots: 10 } } });
  });

  test('a block has kept slots, then a ring, which is never empty', () => {
    const { ring } = paramsOf({ places: { kind: 'ring', position: 6, kept: 0 } });
    expect(ring).toMatchObject({ position: 6, kept: 0, slots: 10 });
    expect(paramsOf({ places: { kind: 'ring', position: 0, kept: 4 } })).toMatchObject({ ring: { kept: 4, slots: 6 } });
  });

  test('without tables nothing is rotated', () => {
    expect(paramsOf({})).toMatchObject({ rotary: { dim: 0, is_interleaved: 0 } });
    const rotary = { dim: 4, interleaved: true, cos: dense(9, 2), sin: { strides: [4, 1], offset: 2 } };
    expect(paramsOf({ rotary })).toMatchObject({
      rotary: {
        dim: 4,
        is_interleaved: 1,
        cos: { strides: [2, 1], offset: 0 },
        sin: { strides: [4, 1], offset: 2 },
      },
    });
  });

  test('folds more workgroups than one dimension holds', () => {
    const length = 2 ** 17;
    const { append } = planAppend(problem({ length, slots: length }), DEFAULTS);
    expect(append.workgroups).toEqual([49_152, 3, 1]);
  });

  test('needs a table and copies for pages only', () => {
    expect(Object.keys(planAppend(problem(), DEFAULTS))).toEqual(['append']);
    expect(planAppend(problem({ places: paged() }), DEFAULTS).copy).toBeUndefined();
  });

  test('the table has the copies, then a row for each entry, as long as the longest', () => {
    const row = [5, 3, 7, 9, 0, 0, 0, 0];
    const plain = planAppend(problem({ places: paged() }), DEFAULTS);
    expect(plain.table).toEqual(row);
    expect(plain.append.params).toMatchObject({ page: { table_at: 0, table_row: 4 } });
    const copying = planAppend(problem({ places: paged(COPIES) }), DEFAULTS);
    expect(copying.table).toEqual([4, 9, 3, 0, 1, 15, ...row]);
    expect(copying.append.params).toMatchObject({ page: { table_at: 6, table_row: 4 } });
  });

  test.each([
    ['float32', 5, 7],
    ['float16', 3, 4],
    ['int8', 3, 3],
  ] as const)('copies %s pages: one invocation a word of all of them', (dtype, key, value) => {
    const formats = { keys: rows(5, dtype), values: rows(7, dtype) };
    expect(planAppend(problem({ ...formats, places: paged(COPIES), slots: 16 }), DEFAULTS).copy).toMatchObject({
      params: {
        words: 2 * 48 * (key + value),
        page_size: 16,
        keys: { words: 48 * key, row_words: key },
        values: { words: 48 * value, row_words: value },
      },
      workgroups: [Math.ceil((96 * (key + value)) / 256), 1, 1],
    });
  });
});
