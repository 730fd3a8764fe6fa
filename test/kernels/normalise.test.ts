import { describe, expect, test } from 'vitest';
import { canNormalise, planNormalise, type NormaliseProblem } from '../../src/kernels/normalise.ts';
import { CPU_DRIVER, DEFAULTS, dense, frozen } from './problems.ts';

const problem = (given: Partial<NormaliseProblem> = {}): NormaliseProblem => {
  const { shape = [2, 3, 8] } = given;
  return { op: 'test', shape, axes: 1, dtype: 'float32', x: dense(...shape), epsilon: 1, isCentred: true, ...given };
};
const plan = (given?: Partial<NormaliseProblem>) => planNormalise(problem(given), DEFAULTS);

describe('planNormalise', () => {
  test('is a pure function', () => {
    const given = frozen(problem());
    expect(planNormalise(given, DEFAULTS)).toEqual(planNormalise(given, DEFAULTS));
  });

  test('short rows share a workgroup, long ones have one each; a CPU driver has few invocations to combine', () => {
    expect(plan({ shape: [100, 256] })).toMatchObject({ constants: { LANES: 16 }, workgroups: [13, 1, 1] });
    expect(plan({ shape: [100, 257] })).toMatchObject({ constants: { LANES: 128 }, workgroups: [100, 1, 1] });
    expect(planNormalise(problem({ shape: [100, 257] }), CPU_DRIVER)).toMatchObject({
      constants: { LANES: 4 },
      workgroups: [4, 1, 1],
    });
  });

  test('several axes merge into one row', () => {
    expect(plan({ axes: 2, weight: dense(3, 8) }).params).toMatchObject({
      rows: 2,
      segments: 1,
      columns: 24,
      has_weight: 1,
      has_bias: 0,
      output_row_pitch: 24,
      x_vector_loads: 1,
    });
    expect(plan({ axes: 3 }).params).toMatchObject({ rows: 1, columns: 48 });
  });

  test('odd float16 rows are segments', () => {
    const given = { shape: [2, 3, 7], axes: 2, dtype: 'float16', x: { strides: [24, 8, 1], offset: 0 } } as const;
    expect(plan({ ...given, weight: { strides: [8, 1], offset: 8 } }).params).toMatchObject({
      segments: 3,
      columns: 7,
      x_inner_strides: [8, 1],
      weight_strides: [8, 1],
      output_row_pitch: 24,
      output_pitch: 8,
      weight_vector_loads: 1,
    });
  });

  test('axes that merge into more than two cannot be read', () => {
    const x = { strides: [1, 2, 10, 100], offset: 0 };
    expect(canNormalise(problem({ shape: [2, 3, 4, 5], axes: 3, x }))).toBe(false);
    expect(canNormalise(problem({ shape: [2, 3, 4, 5], axes: 2, x }))).toBe(true);
  });

  test('folds more workgroups than one dimension holds', () => {
    expect(plan({ shape: [70_000, 1000] }).workgroups).toEqual([35_000, 2, 1]);
  });
});
