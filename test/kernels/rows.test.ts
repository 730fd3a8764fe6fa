import { describe, expect, test } from 'vitest';
import { mergeAxes, rowAxes, rowOperand } from '../../src/kernels/rows.ts';

test('of the axes before a row, the innermost comes first, and a fifth apart', () => {
  expect(rowAxes([], [])).toEqual({ shape: [1, 1, 1, 1], strides: [0, 0, 0, 0], outer_stride: 0 });
  expect(rowAxes([2, 3], [30, 10])).toEqual({ shape: [3, 2, 1, 1], strides: [10, 30, 0, 0], outer_stride: 0 });
  expect(rowAxes([2, 3, 4, 5, 6], [9, 8, 7, 6, 5])).toEqual({
    shape: [6, 5, 4, 3],
    strides: [5, 6, 7, 8],
    outer_stride: 9,
  });
});

test('an operand is read by fours where all its rows begin at a vector and its columns are neighbours', () => {
  const at = (strides: readonly number[], offset: number) => rowOperand({ strides, offset });
  expect(at([24, 8, 1], 4)).toEqual({
    strides: [8, 24, 0, 0],
    outer_stride: 0,
    column_stride: 1,
    offset: 4,
    vectors: 1,
  });
  for (const other of [at([24, 6, 1], 4), at([24, 8, 1], 2), at([24, 8, 2], 4)]) expect(other.vectors).toBe(0);
});

describe('mergeAxes', () => {
  test('one row where all are contiguous, a row for each where one repeats', () => {
    expect(mergeAxes([2, 3, 4], [12, 4, 1], [[12, 4, 1]])).toEqual({ shape: [24], strides: [[1], [1]] });
    expect(mergeAxes([2, 3, 4], [12, 4, 1], [[0, 0, 1]])).toEqual({
      shape: [6, 4],
      strides: [
        [4, 1],
        [0, 1],
      ],
    });
  });

  test('the last axis is one of neighbours in the output', () => {
    // float16 [5, 1]: each row padded to a word
    expect(mergeAxes([5, 1], [2, 1], [[1, 1]])).toEqual({
      shape: [5, 1],
      strides: [
        [2, 0],
        [1, 0],
      ],
    });
    expect(mergeAxes([1, 1], [2, 1], [])).toEqual({ shape: [1], strides: [[0]] });
  });
});
