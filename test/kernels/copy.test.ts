import { describe, expect, test } from 'vitest';
import { planCopy, type CopyProblem } from '../../src/kernels/elementwise.ts';
import { DEFAULTS, dense, frozen } from './problems.ts';

function problem(given: Partial<CopyProblem> = {}): CopyProblem {
  const { shape = [3, 5] } = given;
  return {
    op: 'test',
    shape,
    outputShape: shape,
    inDType: 'float32',
    outDType: 'float32',
    x: dense(...shape),
    ...given,
  };
}

describe('planCopy', () => {
  test('is a pure function', () => {
    const given = frozen(problem({ shape: [2, 3, 4] }));
    expect(planCopy(given, DEFAULTS)).toEqual(planCopy(given, DEFAULTS));
  });

  test.each([
    ['float32', 'float32', 15, 5],
    ['float32', 'float16', 9, 3],
    ['float16', 'float32', 15, 5],
    ['bool', 'bool', 4, 2],
    ['int32', 'int32', 15, 5],
  ] as const)('%s to %s: %d words, %d of a row', (inDType, outDType, words, rowWords) => {
    const { params } = planCopy(problem({ inDType, outDType }), DEFAULTS);
    expect(params).toMatchObject({ words, row_words: rowWords, size: 15, output_row: 5 });
  });

  test('puts up to six axes behind leading ones of length 1', () => {
    expect(planCopy(problem({ shape: [2, 3] }), DEFAULTS).params).toMatchObject({
      outer_shape: [1, 1],
      shape: [1, 1, 2, 3],
      x: { outer_strides: [0, 0], strides: [0, 0, 3, 1] },
    });
    expect(planCopy(problem({ shape: [2, 3, 4, 5, 6, 7] }), DEFAULTS).params).toMatchObject({
      outer_shape: [2, 3],
      shape: [4, 5, 6, 7],
      x: { outer_strides: [2520, 840] },
    });
  });

  test('one view ends where the axis does; a second one continues it', () => {
    expect(planCopy(problem({ shape: [2, 3] }), DEFAULTS).params).toMatchObject({ axis: 0, split: 1 });
    const joined = { y: { strides: [4, 1], offset: 6 }, axis: 1, split: 5 };
    expect(planCopy(problem({ shape: [2, 9], joined }), DEFAULTS).params).toMatchObject({
      axis: 5,
      split: 5,
      y: { strides: [0, 0, 4, 1], offset: 6 },
    });
  });

  test('folds more workgroups than one dimension holds', () => {
    const shape = [2 ** 25];
    expect(planCopy(problem({ shape }), DEFAULTS).workgroups).toEqual([43_691, 3, 1]);
  });
});
