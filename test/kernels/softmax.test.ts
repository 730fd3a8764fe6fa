import { describe, expect, test } from 'vitest';
import { chooseRowLanes, rowsPerWorkgroup } from '../../src/kernels/rows.ts';
import { planSoftmax, planSoftmaxGradient, type SoftmaxGradientProblem } from '../../src/kernels/softmax.ts';
import { CPU_DRIVER, DEFAULTS, dense, frozen, NO_OPTIONS, softmaxProblem } from './problems.ts';

describe('planSoftmax', () => {
  const plan = (given: Parameters<typeof softmaxProblem>[0]) => planSoftmax(softmaxProblem(given), DEFAULTS);

  test('is a pure function', () => {
    const problem = frozen(softmaxProblem({ shape: [2, 3, 4, 5] }));
    expect(planSoftmax(problem, DEFAULTS)).toEqual(planSoftmax(problem, DEFAULTS));
  });

  test('short rows share a workgroup, long ones have one each', () => {
    expect(plan({ shape: [1, 1, 100, 256] })).toMatchObject({ constants: { LANES: 16 }, workgroups: [13, 1, 1] });
    expect(plan({ shape: [1, 1, 100, 257] })).toMatchObject({ constants: { LANES: 128 }, workgroups: [100, 1, 1] });
    expect(plan({ shape: [2, 3, 5, 9] }).params).toMatchObject({
      rows: 30,
      heads: 3,
      options: { sequences: { query_length: 5, key_length: 9 } },
      groups: 4,
    });
  });

  test('a CPU driver has few invocations to combine', () => {
    expect([9, 256, 4096].map((length) => chooseRowLanes(length, CPU_DRIVER))).toEqual([4, 4, 4]);
    expect([9, 4096].map((length) => rowsPerWorkgroup(length, CPU_DRIVER))).toEqual([32, 32]);
    expect([256, 257].map((length) => rowsPerWorkgroup(length, DEFAULTS))).toEqual([8, 1]);
  });

  test('on GPUs, 32 numbers of a row of whole vectors stay in registers', () => {
    const shape = [2, 1, 4, 1000] as const;
    expect(plan({ shape })).toMatchObject({ constants: { HELD: 8 }, params: { holds_vectors: 1 } });
    const half = { shape, xDType: 'float16', dtype: 'float16' } as const;
    expect(plan(half)).toMatchObject({ constants: { HELD: 4 }, params: { holds_vectors: 1 } });
    expect(planSoftmax(softmaxProblem({ shape }), CPU_DRIVER).constants['HELD']).toBe(0);
    expect(plan({ shape, dtype: 'float16' }).constants['HELD']).toBe(0);
    const others: Parameters<typeof plan>[0][] = [
      { shape: [1, 1, 4, 1001] },
      { ...half, shape: [1, 1, 4, 1004] },
      { shape, x: { ...dense(...shape), offset: 2 } },
      { shape, x: { strides: [4000, 4000, 1, 4], offset: 0 } },
      { shape, writesScores: 'masked' },
    ];
    for (const other of others) expect(plan(other).params['holds_vectors']).toBe(0);
    const fields = { ...NO_OPTIONS.fields, visibility: { ...NO_OPTIONS.fields['visibility'], has_key_mask: 1 } };
    expect(plan({ shape, options: { ...NO_OPTIONS, fields } }).params['holds_vectors']).toBe(0);
    const dropout = { ...NO_OPTIONS, constants: { HAS_DROPOUT: true } };
    expect(plan({ shape, options: dropout }).constants['HELD']).toBe(0);
  });

  test('folds more workgroups than one dimension holds', () => {
    expect(plan({ shape: [70_000, 1, 1, 1000] }).workgroups).toEqual([35_000, 2, 1]);
  });

  test('float16 rows are padded to whole words', () => {
    expect(plan({ shape: [1, 1, 4, 7], dtype: 'float16' }).params['output_pitch']).toBe(8);
    expect(plan({ shape: [1, 1, 4, 7] }).params['output_pitch']).toBe(7);
  });
});

const gradientProblem = (given: Partial<SoftmaxGradientProblem> = {}): SoftmaxGradientProblem => {
  const { shape = [2, 3, 4, 8] } = given;
  return {
    op: 'test',
    shape,
    xDType: 'float32',
    dtype: 'float32',
    x: dense(...shape),
    dWeights: dense(...shape),
    options: NO_OPTIONS,
    hasDLogSumExp: false,
    writesDSinks: false,
    writesDScores: false,
    ...given,
  };
};

describe('planSoftmaxGradient', () => {
  const plan = (given?: Partial<SoftmaxGradientProblem>) => planSoftmaxGradient(gradientProblem(given), DEFAULTS);

  test('is a pure function', () => {
    const given = frozen(gradientProblem());
    expect(planSoftmaxGradient(given, DEFAULTS)).toEqual(planSoftmaxGradient(given, DEFAULTS));
  });

  test('has the rows of the softmax', () => {
    expect(plan({ shape: [1, 1, 100, 256] })).toMatchObject({ constants: { LANES: 16 }, workgroups: [13, 1, 1] });
    expect(plan({ shape: [70_000, 1, 1, 1000] }).workgroups).toEqual([35_000, 2, 1]);
    expect(planSoftmaxGradient(gradientProblem({ shape: [1, 1, 64, 1000] }), CPU_DRIVER)).toMatchObject({
      constants: { LANES: 4 },
      workgroups: [2, 1, 1],
    });
  });

  test('on GPUs, 32 numbers of x and of the weights’ gradient stay in registers where rows are whole vectors', () => {
    const shape = [1, 2, 64, 1024] as const;
    expect(plan({ shape })).toMatchObject({ constants: { HELD: 8 }, params: { holds_vectors: 1 } });
    const half = { shape, dtype: 'float16', xDType: 'float16' } as const;
    expect(plan(half)).toMatchObject({ constants: { HELD: 4 }, params: { holds_vectors: 1 } });
    expect(plan({ shape, dtype: 'float16' }).constants['HELD']).toBe(0);
    expect(planSoftmaxGradient(gradientProblem({ shape }), CPU_DRIVER).constants['HELD']).toBe(0);
    const others: Partial<SoftmaxGradientProblem>[] = [
      { shape: [1, 2, 64, 1026] },
      { shape, x: { strides: [0, 0, 1, 64], offset: 0 } },
      { shape, dWeights: { ...dense(...shape), offset: 2 } },
      { shape, writesDScores: true },
    ];
    for (const other of others) expect(plan(other).params['holds_vectors']).toBe(0);
  });

  test('x and the gradient of the weights are read four at a time each where they can be', () => {
    expect(plan().params).toMatchObject({ x: { vectors: 1 }, d_weights: { vectors: 1 } });
    const dWeights = { strides: [0, 0, 0, 0], offset: 0 };
    expect(plan({ dWeights }).params).toMatchObject({ x: { vectors: 1 }, d_weights: { vectors: 0 } });
    expect(plan({ shape: [1, 1, 4, 7], dtype: 'float16' }).params['output_pitch']).toBe(8);
  });
});
