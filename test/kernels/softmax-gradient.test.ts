import { describe, expect, test } from 'vitest';
import { planSoftmaxGradient, type SoftmaxGradientProblem } from '../../src/kernels/softmax-gradient.ts';
import { CPU_DRIVER, DEFAULTS, dense, EVERYTHING, frozen } from './problems.ts';

const problem = (given: Partial<SoftmaxGradientProblem> = {}): SoftmaxGradientProblem => {
  const { shape = [2, 3, 4, 8] } = given;
  return {
    op: 'test',
    shape,
    xDType: 'float32',
    dtype: 'float32',
    x: dense(...shape),
    dWeights: dense(...shape),
    scale: 1,
    visibility: EVERYTHING,
    scores: {},
    hasDLogSumExp: false,
    writesDSinks: false,
    writesDScores: false,
    ...given,
  };
};

describe('planSoftmaxGradient', () => {
  const plan = (given?: Partial<SoftmaxGradientProblem>) => planSoftmaxGradient(problem(given), DEFAULTS);

  test('is a pure function', () => {
    const given = frozen(problem());
    expect(planSoftmaxGradient(given, DEFAULTS)).toEqual(planSoftmaxGradient(given, DEFAULTS));
  });

  test('has the rows of the softmax', () => {
    expect(plan({ shape: [1, 1, 100, 256] })).toMatchObject({ constants: { LANES: 16 }, workgroups: [13, 1, 1] });
    expect(plan({ shape: [70_000, 1, 1, 1000] }).workgroups).toEqual([35_000, 2, 1]);
    expect(planSoftmaxGradient(problem({ shape: [1, 1, 64, 1000] }), CPU_DRIVER)).toMatchObject({
      constants: { LANES: 4 },
      workgroups: [2, 1, 1],
    });
  });

  test('x and the gradient of the weights are read four at a time each where they can be', () => {
    expect(plan().params).toMatchObject({ vector_loads: 1, d_weights_vector_loads: 1 });
    const dWeights = { strides: [0, 0, 0, 0], offset: 0 };
    expect(plan({ dWeights }).params).toMatchObject({ vector_loads: 1, d_weights_vector_loads: 0 });
    expect(plan({ shape: [1, 1, 4, 7], dtype: 'float16' }).params['output_pitch']).toBe(8);
  });
});
