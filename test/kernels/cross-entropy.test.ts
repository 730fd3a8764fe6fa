import { describe, expect, test } from 'vitest';
import {
  planCrossEntropy,
  planCrossEntropyGradient,
  planCrossEntropyTotal,
  type CrossEntropyProblem,
} from '../../src/kernels/cross-entropy.ts';
import type { Traits } from '../../src/tensor/traits.ts';
import { CPU_DRIVER, DEFAULTS, dense, frozen } from './problems.ts';

const problem = (given: Partial<CrossEntropyProblem> = {}): CrossEntropyProblem => {
  const { rows = 6, classes = 8 } = given;
  const logits = dense(rows, classes);
  return { op: 'test', rows, classes, dtype: 'float32', logits, targetsOffset: 0, smoothing: 0, ...given };
};

describe('planCrossEntropy', () => {
  test('is a pure function', () => {
    const given = frozen(problem());
    expect(planCrossEntropy(given, DEFAULTS)).toEqual(planCrossEntropy(given, DEFAULTS));
  });

  test('few classes share a workgroup, many have one a row', () => {
    const plan = (rows: number, classes: number) => planCrossEntropy(problem({ rows, classes }), DEFAULTS);
    expect(plan(100, 256)).toMatchObject({ constants: { LANES: 16 }, workgroups: [13, 1, 1] });
    expect(plan(70_000, 1000)).toMatchObject({ constants: { LANES: 128 }, workgroups: [35_000, 2, 1] });
    expect(planCrossEntropy(problem({ rows: 100, classes: 1000 }), CPU_DRIVER).workgroups).toEqual([4, 1, 1]);
  });

  test('on GPUs an invocation loads vectors of 16 bytes where rows are whole ones', () => {
    const isWhole = (given: Partial<CrossEntropyProblem>, traits: Traits = DEFAULTS) => {
      const { WHOLE } = planCrossEntropy(problem(given), traits).constants;
      const gradient = planCrossEntropyGradient(problem(given), { offset: 0, isByRow: false }, false, traits);
      expect(gradient.constants['WHOLE']).toBe(WHOLE);
      return WHOLE;
    };
    const of = (classes: number, offset = 0) => ({ classes, logits: { strides: [classes, 1], offset } });
    expect(isWhole(of(1000))).toBe(true);
    expect(isWhole({ ...of(1000), dtype: 'float16' })).toBe(true);
    expect(isWhole(of(1000), CPU_DRIVER)).toBe(false);
    expect(isWhole(of(1002))).toBe(false);
    expect(isWhole(of(1000, 2))).toBe(false);
    expect(isWhole({ ...of(1004), dtype: 'float16' })).toBe(false);
    expect(isWhole({ classes: 1000, logits: { strides: [1, 1000], offset: 0 } })).toBe(false);
  });

  test('a target may be ignored, 0 among them', () => {
    expect(planCrossEntropy(problem(), DEFAULTS).params).toMatchObject({ targets: { ignores: 0 } });
    expect(planCrossEntropy(problem({ ignored: 0 }), DEFAULTS).params).toMatchObject({
      targets: { ignores: 1, ignored: 0 },
    });
    expect(planCrossEntropyTotal(problem({ ignored: 7 }), true).params).toMatchObject({
      targets: { ignores: 1, ignored: 7 },
    });
  });
});

test('planCrossEntropyGradient writes four classes an invocation, of padded rows that are no whole vectors', () => {
  const given = problem({ rows: 1000, classes: 7, dtype: 'float16', logits: { strides: [8, 1], offset: 0 } });
  const launch = planCrossEntropyGradient(given, { offset: 3, isByRow: false }, true, DEFAULTS);
  expect(launch.workgroups).toEqual([8, 1, 1]);
  expect(launch.params).toMatchObject({
    rows: 1000,
    row_quads: 2,
    output_pitch: 8,
    logits: { strides: [8, 1], vectors: 1 },
    d_loss_stride: 0,
    d_loss_offset: 3,
    has_share: 1,
  });
  const byRow = planCrossEntropyGradient(problem(), { offset: 0, isByRow: true }, false, DEFAULTS);
  expect(byRow.params).toMatchObject({ d_loss_stride: 1, has_share: 0 });
  const long = problem({ rows: 10, classes: 5000 });
  const plan = (traits: Traits) => planCrossEntropyGradient(long, { offset: 0, isByRow: false }, false, traits);
  expect(plan(DEFAULTS)).toMatchObject({
    constants: { ONE_ROW: true },
    params: { row_groups: 5 },
    workgroups: [50, 1, 1],
  });
  expect(plan(CPU_DRIVER)).toMatchObject({ constants: { ONE_ROW: false }, workgroups: [49, 1, 1] });
});
