import { expect, test } from 'vitest';
import { planRotaryEmbedding, type RotaryEmbeddingProblem } from '../../src/kernels/elementwise.ts';
import { DEFAULTS, dense, frozen } from './problems.ts';

const problem = (given: Partial<RotaryEmbeddingProblem> = {}): RotaryEmbeddingProblem => {
  const { shape = [2, 3, 5, 10] as const, tableRows = 20, rotaryDim = 6 } = given;
  return {
    op: 'test',
    shape,
    rotaryDim,
    tableRows,
    dtype: 'float32',
    x: dense(...shape),
    output: dense(...shape),
    cos: dense(tableRows, rotaryDim / 2),
    sin: dense(tableRows, rotaryDim / 2),
    offset: 0,
    interleaved: false,
    isInverse: false,
    ...given,
  };
};
const plan = (given?: Partial<RotaryEmbeddingProblem>) => planRotaryEmbedding(problem(given), DEFAULTS);

test('planRotaryEmbedding is a pure function', () => {
  const given = frozen(problem());
  expect(planRotaryEmbedding(given, DEFAULTS)).toEqual(planRotaryEmbedding(given, DEFAULTS));
});

test('planRotaryEmbedding: where rows stand', () => {
  expect(plan({ offset: 4 }).params).toMatchObject({
    quads: 90,
    positions: { first: 4, row_step: 1, is_given: 0 },
  });
  const perEntry = { strides: [1, 0], offset: 0, all: false };
  expect(plan({ positions: perEntry }).params).toMatchObject({
    positions: { row_step: 1, is_given: 1, given: { strides: [1, 0] } },
  });
  const all = { strides: [5, 1], offset: 2, all: true };
  expect(plan({ positions: all }).params).toMatchObject({
    positions: { row_step: 0, is_given: 1, given: { offset: 2 } },
  });
});

test('planRotaryEmbedding folds more workgroups than one dimension holds', () => {
  expect(plan({ shape: [1, 1, 70_000, 1024] }).workgroups).toEqual([35_000, 2, 1]);
});
