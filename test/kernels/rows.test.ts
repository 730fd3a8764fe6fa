import { describe, expect, test } from 'vitest';
import { mergeAxes, rowAxes } from '../../src/kernels/rows.ts';

describe('rowAxes', () => {
  test('the innermost axis first; a fifth apart', () => {
    expect(rowAxes([], [[], []])).toEqual({
      shape: [1, 1, 1, 1],
      strides: [
        { inner: [0, 0, 0, 0], outer: 0 },
        { inner: [0, 0, 0, 0], outer: 0 },
      ],
    });
    expect(rowAxes([2, 3], [[30, 10]])).toEqual({
      shape: [3, 2, 1, 1],
      strides: [{ inner: [10, 30, 0, 0], outer: 0 }],
    });
    expect(rowAxes([2, 3, 4, 5, 6], [[9, 8, 7, 6, 5]])).toEqual({
      shape: [6, 5, 4, 3],
      strides: [{ inner: [5, 6, 7, 8], outer: 9 }],
    });
  });
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
