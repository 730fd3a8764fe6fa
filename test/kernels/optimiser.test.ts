import { describe, expect, test } from 'vitest';
import {
  planAdam,
  type AdamProblem,
  planGradScaler,
  flatFields,
  planNorm,
  planSquares,
  sumsOf,
  planOptimiserStep,
  type OptimiserStepProblem,
  planScaleGradient,
  planSgd,
  type SgdProblem,
} from '../../src/kernels/optimiser.ts';
import { CPU_DRIVER, DEFAULTS, frozen } from './problems.ts';

const update = { op: 'test', dtype: 'float32', size: 10, parameter: 3 } as const;
const adam: AdamProblem = { ...update, betas: [0.9, 0.999], epsilon: 1e-8, l2: 0, decay: 1 };
const sgd: SgdProblem = { ...update, l2: 0, momentum: 0, dampening: 0, nesterov: false };

describe('updates', () => {
  test('are planned by pure functions', () => {
    expect(planAdam(frozen(adam), DEFAULTS)).toEqual(planAdam(frozen(adam), DEFAULTS));
    expect(planSgd(frozen(sgd), DEFAULTS)).toEqual(planSgd(frozen(sgd), DEFAULTS));
  });

  test('of four elements an invocation', () => {
    expect(planAdam(adam, DEFAULTS)).toMatchObject({
      constants: { F16: false },
      params: { update: { quads: 3, size: 10, parameter: 3 } },
      workgroups: [1, 1, 1],
    });
    const large = { ...sgd, size: 2 ** 28, dtype: 'float16' } as const;
    expect(planSgd(large, DEFAULTS)).toMatchObject({ constants: { F16: true }, workgroups: [52_429, 5, 1] });
  });

  test('with shares that lose no digits', () => {
    const { params } = planAdam(adam, DEFAULTS);
    expect(params).toMatchObject({ mean_share: 1 - 0.9, square_kept: 0.999, square_share: 1 - 0.999 });
  });

  test('of SGD have a buffer only with momentum', () => {
    expect(planSgd(sgd, DEFAULTS).params).toMatchObject({ has_momentum: 0, is_nesterov: 0, share: 1 });
    const { params } = planSgd({ ...sgd, momentum: 0.9, nesterov: true }, DEFAULTS);
    expect(params).toMatchObject({ has_momentum: 1, is_nesterov: 1, momentum: 0.9 });
  });
});

test('planOptimiserStep: finite logarithms, and what was checked', () => {
  const problem: OptimiserStepProblem = { op: 'test', count: 65, lr: 0.1, betas: [0, 0.999], isScaled: false };
  const plan = planOptimiserStep(frozen(problem), DEFAULTS);
  expect(plan.workgroups).toEqual([2, 1, 1]);
  expect(plan.params).toMatchObject({ is_checked: 0, is_scaled: 0, log_beta1: -1000, log_beta2: Math.log(0.999) });
  const { params } = planOptimiserStep({ ...problem, foundAt: 0, isScaled: true }, DEFAULTS);
  expect(params).toMatchObject({ is_checked: 1, found_at: 0, is_scaled: 1 });
});

describe('gradients as vectors of 16 bytes', () => {
  test.each([
    [[3, 5], 'float32', { vectors: 4, size: 15, columns: 15, pitch: 15 }],
    [[3, 4], 'float16', { vectors: 2, size: 12, columns: 12, pitch: 12 }],
    [[3, 5], 'float16', { vectors: 3, size: 18, columns: 5, pitch: 6 }],
    [[1], 'float16', { vectors: 1, size: 2, columns: 1, pitch: 2 }],
  ] as const)('%j in %s', (shape, dtype, x) => {
    expect(flatFields({ shape, dtype })).toEqual(x);
    expect(planScaleGradient({ op: 'test', shape, dtype, scales: 'times' }, DEFAULTS)).toMatchObject({
      constants: { SCALES: true, DIVIDES: false, CHECKS: false },
      params: { x },
    });
  });

  test('are only read where they are only checked', () => {
    const plan = planScaleGradient({ op: 'test', shape: [4], dtype: 'float32', foundAt: 7 }, DEFAULTS);
    expect(plan).toMatchObject({ constants: { SCALES: false, CHECKS: true }, params: { found_at: 7 } });
  });
});

describe('the norm', () => {
  test('of few elements is one sum, of many as many as keep a device busy', () => {
    expect(sumsOf({ shape: [1], dtype: 'float32' }, DEFAULTS)).toBe(1);
    expect(sumsOf({ shape: [4096, 4], dtype: 'float32' }, DEFAULTS)).toBe(4);
    expect(sumsOf({ shape: [2 ** 26], dtype: 'float32' }, DEFAULTS)).toBe(1024);
    expect(sumsOf({ shape: [4096], dtype: 'float32' }, CPU_DRIVER)).toBe(8);
  });

  test('has one workgroup for each sum, and one for all', () => {
    const x = { shape: [4096, 4], dtype: 'float32' } as const;
    expect(planSquares('test', x, 5, DEFAULTS)).toMatchObject({
      constants: { COMBINES: false },
      params: { groups: 4, first: 5 },
      workgroups: [4, 1, 1],
    });
    const plan = planNorm(9, Infinity, true, DEFAULTS);
    expect(plan).toMatchObject({
      constants: { COMBINES: true },
      params: { x: { size: 9 }, is_scaled: 1 },
      workgroups: [1, 1, 1],
    });
    expect(plan.params['max_norm']).toBeLessThan(Infinity);
  });
});

test('planGradScaler', () => {
  const problem = { optimisers: 64, growth: 2, backoff: 0.5, interval: 2000 };
  expect(planGradScaler(problem)).toMatchObject({ params: problem, workgroups: [1, 1, 1] });
});
