import { expect, test } from 'vitest';
import { planSample, type SampleProblem } from '../../src/kernels/sample.ts';
import { CPU_DRIVER, DEFAULTS, dense, frozen } from './problems.ts';

const problem = (given: Partial<SampleProblem> = {}): SampleProblem => {
  const { rows = 3, columns = 8 } = given;
  const logits = dense(rows, columns);
  return { op: 'test', rows, columns, dtype: 'float32', logits, temperature: 1, seed: 0, step: 0, ...given };
};

test('planSample is a pure function', () => {
  const given = frozen(problem());
  expect(planSample(given, DEFAULTS)).toEqual(planSample(given, DEFAULTS));
});

test('planSample: a workgroup a row; seed and step in 64 bits', () => {
  const { params, workgroups } = planSample(problem({ seed: 2 ** 53 - 1, step: 2 ** 32 + 7 }), DEFAULTS);
  expect(params).toMatchObject({ seed: [0xffffffff, 0x1fffff], step: [7, 1], vector_loads: 1 });
  expect(workgroups).toEqual([3, 1, 1]);
  expect(planSample(problem({ rows: 70_000 }), DEFAULTS).workgroups).toEqual([35_000, 2, 1]);
});

test('planSample: a CPU driver has few invocations to combine', () => {
  expect(planSample(problem(), DEFAULTS).constants).toEqual({ WORKGROUP: 128, F16: false });
  expect(planSample(problem(), CPU_DRIVER).constants).toEqual({ WORKGROUP: 8, F16: false });
});
