import { describe, expect, test } from 'vitest';
import { pageTable, planAppend, rowWords, type AppendProblem, type Slots } from '../../src/kernels/append.ts';
import { DEFAULTS, dense, frozen } from './problems.ts';

function problem(given: Partial<AppendProblem> = {}): AppendProblem {
  const { batch = 2, kvHeads = 3, length = 4, keyDim = 5, valueDim = 7 } = given;
  return {
    op: 'test',
    batch,
    kvHeads,
    length,
    keyDim,
    valueDim,
    inDType: 'float32',
    cacheDType: 'float32',
    k: dense(batch, kvHeads, length, keyDim),
    v: dense(batch, kvHeads, length, valueDim),
    slotsPerBlock: 10,
    slots: { kind: 'ring', position: 0, kept: 10 },
    ...given,
  };
}

const paramsOf = (given: Partial<AppendProblem>) => planAppend(problem(given), DEFAULTS).params;

describe('planAppend', () => {
  test('is a pure function', () => {
    const given = frozen(problem());
    expect(planAppend(given, DEFAULTS)).toEqual(planAppend(given, DEFAULTS));
  });

  test.each([
    ['float32', 5, 7],
    ['float16', 3, 4],
  ] as const)('of %s storage: %d words of a key and %d of a value, one invocation each', (cacheDType, key, value) => {
    expect([rowWords(5, cacheDType), rowWords(7, cacheDType)]).toEqual([key, value]);
    expect(planAppend(problem({ cacheDType }), DEFAULTS)).toMatchObject({
      constants: { IN_F16: false, CACHE_F16: cacheDType === 'float16' },
      params: { key_words: 24 * key, words: 24 * (key + value), key_row_words: key, value_row_words: value },
      workgroups: [Math.ceil((24 * (key + value)) / 64), 1, 1],
    });
  });

  test.each<[string, Slots, number, [rows: number, head: number, gap: number]]>([
    ['all slots kept', { kind: 'ring', position: 3, kept: 10 }, 7, [7, 7, 0]],
    ['a ring with room', { kind: 'ring', position: 3, kept: 0 }, 7, [7, 0, 0]],
    ['a ring that wraps', { kind: 'ring', position: 93, kept: 0 }, 10, [10, 0, 0]],
    ['more than a ring holds', { kind: 'ring', position: 93, kept: 0 }, 14, [10, 0, 4]],
    ['sinks and more than the ring holds', { kind: 'ring', position: 0, kept: 3 }, 14, [10, 3, 4]],
    ['the last sink and more than the ring holds', { kind: 'ring', position: 2, kept: 3 }, 9, [8, 1, 1]],
    ['after the sinks', { kind: 'ring', position: 3, kept: 3 }, 8, [7, 0, 1]],
    ['pages', { kind: 'paged', tableOffset: 6, tableRow: 4 }, 30, [30, 30, 0]],
  ])('%s', (_name, slots, length, [rows, head, gap]) => {
    expect(paramsOf({ slots, length })).toMatchObject({ rows, head_rows: head, gap });
  });

  test('divides by nothing that is 0', () => {
    expect(paramsOf({ slots: { kind: 'ring', position: 0, kept: 10 } })).toMatchObject({
      kept: 10,
      ring: 1,
      slots: 10,
    });
    expect(paramsOf({ slots: { kind: 'ring', position: 0, kept: 4 } })).toMatchObject({
      kept: 4,
      ring: 6,
      page_size: 0,
    });
    expect(paramsOf({ slots: { kind: 'paged', tableOffset: 6, tableRow: 4 }, slotsPerBlock: 16 })).toMatchObject({
      page_size: 16,
      slots: 16,
      table_offset: 6,
      table_row: 4,
    });
  });

  test('without tables nothing is rotated', () => {
    expect(paramsOf({})).toMatchObject({ rotary_dim: 0, is_interleaved: 0, cos_strides: [0, 0] });
    const rotary = { dim: 4, interleaved: true, cos: dense(9, 2), sin: { strides: [4, 1], offset: 2 } };
    expect(paramsOf({ rotary })).toMatchObject({
      rotary_dim: 4,
      is_interleaved: 1,
      cos_strides: [2, 1],
      sin_strides: [4, 1],
      sin_offset: 2,
    });
  });

  test('folds more workgroups than one dimension holds', () => {
    const length = 2 ** 17;
    const large = problem({ length, slotsPerBlock: length, slots: { kind: 'ring', position: 0, kept: length } });
    const { workgroups } = planAppend(large, DEFAULTS);
    expect(workgroups).toEqual([49_152, 3, 1]);
  });
});

test('the table has a row for each entry, as long as the longest', () => {
  const entries = [
    { position: 5, count: 3, pages: [7, 9] },
    { position: 0, count: 0, pages: [] },
    { position: 8, count: 1, pages: [4] },
  ];
  expect(pageTable(entries)).toEqual({ words: [5, 3, 7, 9, 0, 0, 0, 0, 8, 1, 4, 0], row: 4 });
});
