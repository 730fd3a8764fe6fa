import { expect, test } from 'vitest';
import { type MergeGradientProblem, planMergeAttentionGradient } from '../../src/kernels/merge-attention-gradient.ts';
import { CPU_DRIVER, DEFAULTS, frozen } from './problems.ts';

const problem: MergeGradientProblem = {
  op: 'test',
  parts: 3,
  rows: 40,
  valueDim: 33,
  dtype: 'float16',
  hasGradient: true,
  hasLogSumExpGradient: false,
};

test('planMergeAttentionGradient is a pure function', () => {
  const given = frozen(problem);
  expect(planMergeAttentionGradient(given, DEFAULTS)).toEqual(planMergeAttentionGradient(given, DEFAULTS));
});

test('planMergeAttentionGradient: rows share a workgroup', () => {
  const { constants, params, workgroups } = planMergeAttentionGradient(problem, DEFAULTS);
  expect(constants).toEqual({ LANES: 16, OUT_F16: true });
  expect(params).toMatchObject({ output_pitch: 34, has_gradient: 1, has_log_sum_exp_gradient: 0 });
  expect(workgroups).toEqual([5, 1, 1]);
  expect(planMergeAttentionGradient({ ...problem, valueDim: 512 }, DEFAULTS).constants).toMatchObject({ LANES: 128 });
  expect(planMergeAttentionGradient(problem, CPU_DRIVER).workgroups).toEqual([2, 1, 1]);
});
