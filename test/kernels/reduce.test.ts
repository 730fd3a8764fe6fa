import { describe, expect, test } from 'vitest';
import { planSample, planSum, type SampleProblem, type SumProblem } from '../../src/kernels/reduce.ts';
import { CPU_DRIVER, DEFAULTS, dense, frozen } from './problems.ts';

function sumProblem(shape: readonly number[], axes: readonly number[], given: Partial<SumProblem> = {}): SumProblem {
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
    const given = frozen(sumProblem([3, 8], [0]));
    expect(planSum(given, DEFAULTS)).toEqual(planSum(given, DEFAULTS));
  });

  test('few columns of many rows are divided, for neighbours to read neighbouring columns', () => {
    const { splits, params, workgroups } = planSum(sumProblem([8192, 512], [0]), DEFAULTS);
    // 128 quads in rows of 16, so 16 lanes each
    expect(params).toMatchObject({ quads: 128, lanes: 16, lanes_first: 0, quad_groups: 8, x: { vectors: 1 } });
    expect(splits).toBe(16);
    expect(params).toMatchObject({ split_terms: 512, split_pitch: 512, scale: 1, terms: 8192 });
    expect(workgroups).toEqual([128, 1, 1]);
  });

  test('the parts are summed at once', () => {
    const parts = sumProblem([16, 512], [0]);
    expect(planSum(parts, DEFAULTS)).toMatchObject({ splits: 1, params: { scale: 2 } });
  });

  test('neighbours share the sum of a row', () => {
    expect(planSum(sumProblem([300, 1024], [1]), DEFAULTS)).toMatchObject({
      splits: 1,
      params: { lanes: 256, lanes_first: 1, quads: 75, terms: 1024, inner_stride: 1, x: { vectors: 0 } },
    });
    expect(planSum(sumProblem([300, 64], [1]), DEFAULTS).params).toMatchObject({ lanes: 16, lanes_first: 1 });
  });

  test('a CPU driver takes as few lanes as fill a workgroup', () => {
    expect(planSum(sumProblem([8192, 512], [0]), CPU_DRIVER).params).toMatchObject({ lanes: 2, quad_groups: 1 });
    expect(planSum(sumProblem([300, 64], [1]), CPU_DRIVER).params).toMatchObject({ lanes: 4 });
    expect(planSum(sumProblem([4000, 64], [1]), CPU_DRIVER).params).toMatchObject({ lanes: 1 });
  });

  test('summed axes merge in the order of memory', () => {
    const transposed = { strides: [1, 60, 240], offset: 0 };
    expect(planSum(sumProblem([60, 4, 5], [0, 1, 2], { x: transposed }), DEFAULTS).params).toMatchObject({
      terms: 1200,
      inner_terms: 1200,
      inner_stride: 1,
    });
    expect(planSum(sumProblem([4, 3, 5], [0, 2]), DEFAULTS).params).toMatchObject({
      terms: 20,
      inner_terms: 5,
      inner_stride: 1,
      summed: { shape: [4, 1, 1, 1], strides: [15, 0, 0, 0], outer_stride: 0 },
    });
  });

  test('parts are float32 and without padding, whatever the output', () => {
    const half = { inDType: 'float16', outDType: 'float16', x: { strides: [8, 1], offset: 0 } } as const;
    const divided = planSum(sumProblem([100_000, 7], [0], half), DEFAULTS);
    expect(divided.constants).toEqual({ IN_F16: true, OUT_F16: false });
    expect(divided.params).toMatchObject({ split_pitch: 7 });
    expect(planSum(sumProblem([3, 7], [0], half), DEFAULTS).constants).toEqual({ IN_F16: true, OUT_F16: true });
  });

  test('folds more workgroups than one dimension holds', () => {
    expect(planSum(sumProblem([70_000 * 1024, 3], [1]), DEFAULTS).workgroups[1]).toBe(2);
  });
});

const sampleProblem = (given: Partial<SampleProblem> = {}): SampleProblem => {
  const { rows = 3, columns = 8 } = given;
  const logits = dense(rows, columns);
  return { op: 'test', rows, columns, dtype: 'float32', logits, temperature: 1, seed: 0, step: 0, ...given };
};

test('planSample is a pure function', () => {
  const given = frozen(sampleProblem());
  expect(planSample(given, DEFAULTS)).toEqual(planSample(given, DEFAULTS));
});

test('planSample: a workgroup a row; seed and step in 64 bits', () => {
  const { params, workgroups } = planSample(sampleProblem({ seed: 2 ** 53 - 1, step: 2 ** 32 + 7 }), DEFAULTS);
  expect(params).toMatchObject({ seed: [0xffffffff, 0x1fffff], step: [7, 1], logits: { strides: [8, 1], vectors: 1 } });
  expect(workgroups).toEqual([3, 1, 1]);
  expect(planSample(sampleProblem({ rows: 70_000 }), DEFAULTS).workgroups).toEqual([35_000, 2, 1]);
});

test('planSample: a CPU driver has few invocations to combine', () => {
  expect(planSample(sampleProblem(), DEFAULTS).constants).toEqual({ WORKGROUP: 128, F16: false });
  expect(planSample(sampleProblem(), CPU_DRIVER).constants).toEqual({ WORKGROUP: 8, F16: false });
});
