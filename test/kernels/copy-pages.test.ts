import { describe, expect, test } from 'vitest';
import { copyTable, planCopyPages, type CopyPagesProblem } from '../../src/kernels/copy-pages.ts';
import { DEFAULTS, frozen } from './problems.ts';

const problem: CopyPagesProblem = {
  op: 'test',
  copies: 3,
  kvHeads: 2,
  pageSize: 16,
  keyDim: 5,
  valueDim: 8,
  dtype: 'float32',
};

describe('planCopyPages', () => {
  test('is a pure function', () => {
    expect(planCopyPages(frozen(problem), DEFAULTS)).toEqual(planCopyPages(problem, DEFAULTS));
  });

  test.each([
    ['float32', 5, 8],
    ['float16', 3, 4],
  ] as const)('of %s: one invocation a word of all pages', (dtype, key, value) => {
    expect(planCopyPages({ ...problem, dtype }, DEFAULTS)).toMatchObject({
      params: {
        words: 3 * 32 * (key + value),
        key_words: 32 * key,
        value_words: 32 * value,
        key_row_words: key,
        value_row_words: value,
        page_size: 16,
      },
      workgroups: [Math.ceil((96 * (key + value)) / 256), 1, 1],
    });
  });
});

test('the table names source, destination and rows of each copy', () => {
  const copies = [
    { from: 4, to: 9, rows: 3 },
    { from: 0, to: 1, rows: 15 },
  ];
  expect(copyTable(copies)).toEqual([4, 9, 3, 0, 1, 15]);
});
