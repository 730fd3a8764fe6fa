import { describe, expect, test } from 'vitest';
import { planElementwise, planElementwiseGradient, type ElementwiseProblem } from '../../src/kernels/elementwise.ts';
import { CPU_DRIVER, DEFAULTS, dense, frozen } from './problems.ts';

describe('planElementwise', () => {
  const problem = (given: Partial<ElementwiseProblem> = {}): ElementwiseProblem => {
    const { shape = [3, 8] } = given;
    return { op: 'test', operation: 'add', shape, dtype: 'float32', x: dense(...shape), y: dense(...shape), ...given };
  };
  const plan = (given?: Partial<ElementwiseProblem>) => planElementwise(problem(given), DEFAULTS);

  test('is a pure function', () => {
    const given = frozen(problem());
    expect(planElementwise(given, DEFAULTS)).toEqual(planElementwise(given, DEFAULTS));
  });

  test('contiguous operands are one row, read by fours', () => {
    expect(plan({ shape: [2, 3, 5] }).params).toMatchObject({ columns: 30, quads: 8, row_quads: 8, x: { vectors: 1 } });
  });

  test('a vector that repeats along rows keeps them apart', () => {
    expect(plan({ y: { strides: [0, 1], offset: 4 } }).params).toMatchObject({
      columns: 8,
      quads: 6,
      shape: [3, 1, 1, 1],
      output_pitch: 8,
      x: { strides: [8, 0, 0, 0] },
      y: { strides: [0, 0, 0, 0], column_stride: 1, offset: 4, vectors: 1 },
    });
    expect(plan({ y: { strides: [0, 1], offset: 3 } }).params).toMatchObject({ x: { vectors: 1 }, y: { vectors: 0 } });
    expect(plan({ y: { strides: [1, 0], offset: 0 } }).params).toMatchObject({ y: { column_stride: 0, vectors: 0 } });
  });

  test('float16 rows are padded to whole words', () => {
    const x = { strides: [8, 1], offset: 0 };
    const { constants, params } = plan({ shape: [3, 7], dtype: 'float16', x, y: x });
    expect(constants).toEqual({ BINARY: true, F16: true, WHOLE: false });
    expect(params).toMatchObject({ columns: 7, quads: 6, output_pitch: 8 });
  });

  test('on GPUs, an invocation computes a vector where all rows are whole vectors', () => {
    const half = { dtype: 'float16' } as const;
    expect(plan()).toMatchObject({ constants: { WHOLE: true }, params: { quads: 6 } });
    expect(plan(half)).toMatchObject({ constants: { WHOLE: true }, params: { quads: 3 } });
    expect(plan({ ...half, y: undefined }).constants).toMatchObject({ BINARY: false, WHOLE: true });
    const others: Partial<ElementwiseProblem>[] = [
      { ...half, shape: [3, 4] },
      { ...half, x: { strides: [12, 1], offset: 0 } },
      { ...half, y: { strides: [8, 1], offset: 4 } },
      { y: { strides: [1, 0], offset: 0 } },
    ];
    for (const other of others) expect(plan(other).constants['WHOLE']).toBe(false);
    expect(planElementwise(problem(half), CPU_DRIVER)).toMatchObject({
      constants: { WHOLE: false },
      params: { quads: 6 },
    });
  });

  test('folds more workgroups than one dimension holds', () => {
    expect(plan({ shape: [70_000 * 1024] }).workgroups).toEqual([35_000, 2, 1]);
  });
});

const gradientProblem = {
  op: 'test',
  operation: 'swiglu',
  of: 'x',
  shape: [3, 8],
  dtype: 'float16',
  x: dense(3, 8),
  y: { strides: [0, 1], offset: 3 },
  gradient: { strides: [0, 0], offset: 1 },
} as const;

test('planElementwiseGradient is a pure function', () => {
  const given = frozen(gradientProblem);
  expect(planElementwiseGradient(given, DEFAULTS)).toEqual(planElementwiseGradient(given, DEFAULTS));
});

test('planElementwiseGradient: three operands that are broadcast each in its way', () => {
  const { constants, params, workgroups } = planElementwiseGradient(gradientProblem, DEFAULTS);
  expect(constants).toEqual({ OF_Y: false, READS_X: true, READS_Y: true, F16: true, WHOLE: false });
  expect(params).toMatchObject({
    columns: 8,
    quads: 6,
    output_pitch: 8,
    x: { strides: [8, 0, 0, 0], vectors: 1 },
    y: { strides: [0, 0, 0, 0], column_stride: 1, vectors: 0 },
    gradient: { column_stride: 0, offset: 1, vectors: 0 },
  });
  expect(workgroups).toEqual([1, 1, 1]);
});

test('plans of one op share a shader, so that its pipeline is compiled once', () => {
  const { shader } = planElementwiseGradient(gradientProblem, DEFAULTS);
  expect(planElementwiseGradient({ ...gradientProblem, of: 'y', y: undefined }, DEFAULTS).shader).toBe(shader);
  expect(planElementwiseGradient({ ...gradientProblem, operation: 'silu' }, DEFAULTS).shader).not.toBe(shader);
});
