import { describe, expect, test } from 'vitest';
import { chooseRowLanes, rowsPerWorkgroup } from '../../src/kernels/rows.ts';
import { planSoftmax } from '../../src/kernels/softmax.ts';
import { CPU_DRIVER, DEFAULTS, frozen, softmaxProblem } from './problems.ts';

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
      query_length: 5,
      key_length: 9,
      groups: 4,
    });
  });

  test('a CPU driver has few invocations to combine', () => {
    expect([9, 256, 4096].map((length) => chooseRowLanes(length, CPU_DRIVER))).toEqual([4, 4, 4]);
    expect([9, 4096].map((length) => rowsPerWorkgroup(length, CPU_DRIVER))).toEqual([32, 32]);
    expect([256, 257].map((length) => rowsPerWorkgroup(length, DEFAULTS))).toEqual([8, 1]);
  });

  test('folds more workgroups than one dimension holds', () => {
    expect(plan({ shape: [70_000, 1, 1, 1000] }).workgroups).toEqual([35_000, 2, 1]);
  });

  test('float16 rows are padded to whole words', () => {
    expect(plan({ shape: [1, 1, 4, 7], outDType: 'float16' }).params['output_pitch']).toBe(8);
    expect(plan({ shape: [1, 1, 4, 7] }).params['output_pitch']).toBe(7);
  });
});
