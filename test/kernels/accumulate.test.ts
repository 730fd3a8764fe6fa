import { expect, test } from 'vitest';
import { planAccumulate, type AccumulateProblem } from '../../src/kernels/elementwise.ts';
import { DEFAULTS, dense, frozen } from './problems.ts';

function problem(shape: readonly number[], given: Partial<AccumulateProblem> = {}): AccumulateProblem {
  return { op: 'test', shape, dtype: 'float32', target: dense(...shape), x: dense(...shape), ...given };
}

test('planAccumulate is a pure function', () => {
  const given = frozen(problem([3, 8]));
  expect(planAccumulate(given, DEFAULTS)).toEqual(planAccumulate(given, DEFAULTS));
});

test('planAccumulate: an invocation owns whole words', () => {
  expect(planAccumulate(problem([3, 9]), DEFAULTS).params).toMatchObject({ quads: 7, columns: 27, lead: 0 });
  // columns 3 to 8 of rows of ten f16, which begin and end within words
  const slice = { strides: [10, 1], offset: 3 };
  const half = planAccumulate(problem([4, 6], { dtype: 'float16', target: slice }), DEFAULTS);
  expect(half.params).toMatchObject({ quads: 8, row_quads: 2, columns: 6, lead: 1, x: { vectors: 0 } });
});

test('planAccumulate: x is read by fours where it lies so', () => {
  expect(planAccumulate(problem([3, 9]), DEFAULTS).params).toMatchObject({ x: { vectors: 1 } });
  const transposed = { strides: [1, 3], offset: 0 };
  expect(planAccumulate(problem([3, 9], { x: transposed }), DEFAULTS).params).toMatchObject({ x: { vectors: 0 } });
});

test('planAccumulate folds more workgroups than one dimension holds', () => {
  expect(planAccumulate(problem([70_000 * 1024]), DEFAULTS).workgroups[1]).toBeGreaterThan(1);
});
