import { expect, test } from 'vitest';
import { planDropout, type DropoutProblem } from '../../src/kernels/elementwise.ts';
import { DEFAULTS, dense, frozen } from './problems.ts';

const plan = (given: Partial<DropoutProblem> = {}) =>
  planDropout(
    frozen({
      op: 'test',
      shape: [3, 8],
      dtype: 'float32' as const,
      x: dense(3, 8),
      p: 0.25,
      seed: 2 ** 32 + 7,
      ...given,
    }),
    DEFAULTS,
  );

test('planDropout is a pure function', () => {
  expect(plan()).toEqual(plan());
});

test('planDropout: probability, scale and seed are uniforms', () => {
  expect(plan().constants).toEqual({ F16: false });
  expect(plan().params).toMatchObject({ columns: 24, dropout: { p: 0.25, scale: 4 / 3, seed: [7, 1] } });
  expect(plan({ p: 1 }).params).toMatchObject({ dropout: { p: 1, scale: 0 } });
});
