import { describe, expect, test } from 'vitest';
import {
  canNormalise,
  chunkRows,
  planNormalise,
  planNormaliseGradient,
  planNormaliseWeightGradient,
  type NormaliseGradientProblem,
  type NormaliseProblem,
  type NormaliseWeightGradientProblem,
} from '../../src/kernels/normalise.ts';
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

  test('on GPUs, 32 numbers of a row of whole vectors stay in registers', () => {
    const shape = [4, 1000];
    const weight = dense(1000);
    expect(plan({ shape, weight })).toMatchObject({ constants: { HELD: 8 }, params: { holds_vectors: 1 } });
    const half = { shape, dtype: 'float16' } as const;
    expect(plan({ ...half, bias: weight })).toMatchObject({ constants: { HELD: 4 }, params: { holds_vectors: 1 } });
    expect(planNormalise(problem({ shape }), CPU_DRIVER).constants['HELD']).toBe(0);
    const others: Partial<NormaliseProblem>[] = [
      { shape: [4, 1001] },
      { ...half, shape: [4, 1004] },
      { shape, x: { strides: [1, 4], offset: 0 } },
      { shape, x: { strides: [1000, 1], offset: 2 } },
      { shape, weight: { strides: [1], offset: 2 } },
      { shape, bias: { strides: [2], offset: 0 } },
      { ...half, weight: { strides: [1], offset: 4 } },
    ];
    for (const other of others) expect(plan(other).params['holds_vectors']).toBe(0);
  });

  test('several axes merge into one row', () => {
    expect(plan({ axes: 2, weight: dense(3, 8) }).params).toMatchObject({
      shape: { rows: 2, segments: 1, columns: 24, row_pitch: 24 },
      has_weight: 1,
      has_bias: 0,
      x: { strides: [0, 1], offset: 0, vectors: 1 },
    });
    expect(plan({ axes: 3 }).params).toMatchObject({ shape: { rows: 1, columns: 48 } });
  });

  test('odd float16 rows are segments', () => {
    const given = { shape: [2, 3, 7], axes: 2, dtype: 'float16', x: { strides: [24, 8, 1], offset: 0 } } as const;
    expect(plan({ ...given, weight: { strides: [8, 1], offset: 8 } }).params).toMatchObject({
      shape: { segments: 3, columns: 7, row_pitch: 24, pitch: 8 },
      x: { strides: [8, 1] },
      weight: { strides: [8, 1], offset: 8, vectors: 1 },
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

const place = { op: 'test', shape: [2, 3, 8], axes: 1, dtype: 'float32', xOffset: 0, dOutputOffset: 0 } as const;

describe('planNormaliseGradient', () => {
  const problem = (given: Partial<NormaliseGradientProblem> = {}): NormaliseGradientProblem => ({
    ...place,
    epsilon: 1,
    isCentred: true,
    writesDX: true,
    writesStatistics: false,
    ...given,
  });
  const plan = (given?: Partial<NormaliseGradientProblem>) => planNormaliseGradient(problem(given), DEFAULTS);

  test('is a pure function', () => {
    const given = frozen(problem());
    expect(planNormaliseGradient(given, DEFAULTS)).toEqual(planNormaliseGradient(given, DEFAULTS));
  });

  test('short rows share a workgroup, long ones have one each', () => {
    expect(plan({ shape: [100, 256] })).toMatchObject({ constants: { LANES: 16 }, workgroups: [13, 1, 1] });
    expect(plan({ shape: [100, 257] })).toMatchObject({ constants: { LANES: 128 }, workgroups: [100, 1, 1] });
    expect(planNormaliseGradient(problem({ shape: [100, 257] }), CPU_DRIVER).constants['LANES']).toBe(4);
    expect(plan({ shape: [70_000, 1000] }).workgroups).toEqual([35_000, 2, 1]);
  });

  test('several axes merge into one row, but odd float16 ones into segments', () => {
    const shape = [2, 3, 7];
    const row = { rows: 2, segments: 1, columns: 21, row_pitch: 21, pitch: 0 };
    expect(plan({ shape, axes: 2 }).params).toMatchObject({ shape: row, vectors: 0 });
    const segments = { rows: 2, segments: 3, columns: 7, row_pitch: 24, pitch: 8 };
    expect(plan({ shape, axes: 2, dtype: 'float16' }).params).toMatchObject({ shape: segments, vectors: 1 });
    expect(plan({ shape: [3, 1], axes: 2, dtype: 'float16' }).params).toMatchObject({
      shape: { rows: 1, segments: 3, columns: 1 },
    });
  });

  test('vectors are read where all operands begin at one', () => {
    expect(plan().params['vectors']).toBe(1);
    expect(plan({ xOffset: 4, weightOffset: 8 }).params).toMatchObject({ vectors: 1, has_weight: 1 });
    for (const given of [{ xOffset: 2 }, { dOutputOffset: 2 }, { weightOffset: 2 }, { shape: [4, 6] }]) {
      expect(plan(given).params['vectors']).toBe(0);
    }
  });

  test('on GPUs, 32 numbers of x and of d_output stay in registers where rows are whole vectors', () => {
    const shape = [4, 1000];
    const held = { constants: { HELD: 8 }, params: { holds_vectors: 1 } };
    expect(plan({ shape, weightOffset: 4 })).toMatchObject(held);
    const half = { shape, dtype: 'float16' } as const;
    expect(plan({ ...half, weightOffset: 8 })).toMatchObject({ ...held, constants: { HELD: 4 } });
    expect(planNormaliseGradient(problem({ shape }), CPU_DRIVER).constants['HELD']).toBe(0);
    const others: Partial<NormaliseGradientProblem>[] = [
      { shape: [4, 1001] },
      { ...half, shape: [4, 1004] },
      { shape, xOffset: 2 },
      { shape, dOutputOffset: 1 },
      { ...half, weightOffset: 4 },
    ];
    for (const other of others) expect(plan(other).params['holds_vectors']).toBe(0);
  });
});

describe('planNormaliseWeightGradient', () => {
  const problem: NormaliseWeightGradientProblem = { ...place, writesDWeight: true, writesDBias: false };

  test('chunks hold all rows, and there are no more chunks than a GPU can use', () => {
    for (const rows of [1, 31, 32, 33, 1000, 4096, 100_000]) {
      for (const columnGroups of [1, 3, 1000]) {
        for (const traits of [DEFAULTS, CPU_DRIVER]) {
          const { chunks, size } = chunkRows(rows, columnGroups, traits);
          expect(chunks * size).toBeGreaterThanOrEqual(rows);
          expect((chunks - 1) * size).toBeLessThan(rows);
          expect(chunks).toBeLessThanOrEqual(128);
        }
      }
    }
    expect(chunkRows(32, 1, DEFAULTS).chunks).toBe(1);
    expect(chunkRows(100_000, 1, DEFAULTS).chunks).toBe(128);
    expect(chunkRows(100_000, 1, CPU_DRIVER).chunks).toBe(32);
    expect(chunkRows(100_000, 512, DEFAULTS).chunks).toBe(1);
  });

  test('a workgroup for 64 columns of a chunk', () => {
    const { launch, chunks } = planNormaliseWeightGradient({ ...problem, shape: [4096, 1000] }, DEFAULTS);
    expect(chunks).toBe(32);
    expect(launch.params).toMatchObject({ column_groups: 16, chunk_rows: 128, groups: 512, vectors: 1 });
    expect(launch.workgroups).toEqual([512, 1, 1]);
  });
});
