import { describe, expect, test } from 'vitest';
import { planSum, type SumProblem } from '../../src/kernels/sum.ts';
import { CPU_DRIVER, DEFAULTS, dense, frozen } from './problems.ts';

function problem(shape: readonly number[], axes: readonly number[], given: Partial<SumProblem> = {}): SumProblem {
  const kept = shape.filter((_, axis) => !axes.includes(axis));
  return {
    op: 'test',
    shape,
    inDType: 'float32',
    outDType: 'float32',
    x: dense(...shape),
    axes: new Set(axes),
    strides: dense(...kept).strides,
    scale: 2,
    ...given,
  };
}

describe('planSum', () => {
  test('is a pure function', () => {
    const given = frozen(problem([3, 8], [0]));
    expect(planSum(given, DEFAULTS)).toEqual(planSum(given, DEFAULTS));
  });

  test('few columns of many rows are divided, for neighbours to read neighbouring columns', () => {
    const { splits, params, workgroups } = planSum(problem([8192, 512], [0]), DEFAULTS);
    // 128 quads in rows of 16, so 16 lanes each
    expect(params).toMatchObject({ quads: 128, lanes: 16, lanes_first: 0, quad_groups: 8, x_vector_loads: 1 });
    expect(splits).toBe(16);
    expect(params).toMatchObject({ split_terms: 512, split_pitch: 512, scale: 1, terms: 8192 });
    expect(workgroups).toEqual([128, 1, 1]);
  });

  test('the parts are summed at once', () => {
    const parts = problem([16, 512], [0]);
    expect(planSum(parts, DEFAULTS)).toMatchObject({ splits: 1, params: { scale: 2 } });
  });

  test('neighbours share the sum of a row', () => {
    expect(planSum(problem([300, 1024], [1]), DEFAULTS)).toMatchObject({
      splits: 1,
      params: { lanes: 256, lanes_first: 1, quads: 75, terms: 1024, inner_stride: 1, x_vector_loads: 0 },
    });
    expect(planSum(problem([300, 64], [1]), DEFAULTS).params).toMatchObject({ lanes: 16, lanes_first: 1 });
  });

  test('a CPU driver takes as few lanes as fill a workgroup', () => {
    expect(planSum(problem([8192, 512], [0]), CPU_DRIVER).params).toMatchObject({ lanes: 2, quad_groups: 1 });
    expect(planSum(problem([300, 64], [1]), CPU_DRIVER).params).toMatchObject({ lanes: 4 });
    expect(planSum(problem([4000, 64], [1]), CPU_DRIVER).params).toMatchObject({ lanes: 1 });
  });

  test('axes that go merge in the order of memory', () => {
    const transposed = { strides: [1, 60, 240], offset: 0 };
    expect(planSum(problem([60, 4, 5], [0, 1, 2], { x: transposed }), DEFAULTS).params).toMatchObject({
      terms: 1200,
      inner_terms: 1200,
      inner_stride: 1,
    });
    expect(planSum(problem([4, 3, 5], [0, 2]), DEFAULTS).params).toMatchObject({
      terms: 20,
      inner_terms: 5,
      inner_stride: 1,
      summed_shape: [4, 1, 1, 1],
      summed_strides: [15, 0, 0, 0],
    });
  });

  test('parts are float32 and without padding, whatever the output', () => {
    const half = { inDType: 'float16', outDType: 'float16', x: { strides: [8, 1], offset: 0 } } as const;
    const divided = planSum(problem([100_000, 7], [0], half), DEFAULTS);
    expect(divided.constants).toEqual({ IN_F16: true, OUT_F16: false });
    expect(divided.params).toMatchObject({ split_pitch: 7 });
    expect(planSum(problem([3, 7], [0], half), DEFAULTS).constants).toEqual({ IN_F16: true, OUT_F16: true });
  });

  test('folds more workgroups than one dimension holds', () => {
    expect(planSum(problem([70_000 * 1024, 3], [1]), DEFAULTS).workgroups[1]).toBe(2);
  });
});
