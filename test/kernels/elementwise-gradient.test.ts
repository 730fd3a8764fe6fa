import { expect, test } from 'vitest';
import { planElementwiseGradient } from '../../src/kernels/elementwise-gradient.ts';
import { DEFAULTS, dense, frozen } from './problems.ts';

const problem = {
  op: 'test',
  operation: 'swiglu',
  shape: [3, 8],
  dtype: 'float16',
  x: dense(3, 8),
  y: { strides: [0, 1], offset: 3 },
  gradient: { strides: [0, 0], offset: 1 },
} as const;

test('planElementwiseGradient is a pure function', () => {
  const given = frozen(problem);
  expect(planElementwiseGradient(given, DEFAULTS)).toEqual(planElementwiseGradient(given, DEFAULTS));
});

test('planElementwiseGradient: three operands that are broadcast each in its way', () => {
  const { constants, params, workgroups } = planElementwiseGradient(problem, DEFAULTS);
  expect(constants).toEqual({ OP: 6, F16: true });
  expect(params).toMatchObject({
    columns: 8,
    quads: 6,
    output_pitch: 8,
    x_strides: [8, 0, 0, 0],
    x_vector_loads: 1,
    y_strides: [0, 0, 0, 0],
    y_column_stride: 1,
    y_vector_loads: 0,
    gradient_column_stride: 0,
    gradient_offset: 1,
    gradient_vector_loads: 0,
  });
  expect(workgroups).toEqual([1, 1, 1]);
});
