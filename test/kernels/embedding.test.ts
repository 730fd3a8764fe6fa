import { expect, test } from 'vitest';
import {
  planEmbedding,
  planEmbeddingGradient,
  planOrderIds,
  type EmbeddingGradientProblem,
  type EmbeddingProblem,
} from '../../src/kernels/embedding.ts';
import { CPU_DRIVER, DEFAULTS, dense, frozen } from './problems.ts';

const problem = (given: Partial<EmbeddingProblem> = {}): EmbeddingProblem => {
  const { tableRows = 10, columns = 7 } = given;
  const weight = dense(tableRows, columns);
  return { op: 'test', rows: 5, idsOffset: 0, tableRows, columns, dtype: 'float32', weight, ...given };
};
const plan = (given?: Partial<EmbeddingProblem>) => planEmbedding(problem(given), DEFAULTS);

test('planEmbedding is a pure function', () => {
  const given = frozen(problem());
  expect(planEmbedding(given, DEFAULTS)).toEqual(planEmbedding(given, DEFAULTS));
});

test('planEmbedding: four columns an invocation, rows of whole words', () => {
  expect(plan().params).toMatchObject({ quads: 10, row_quads: 2, output_pitch: 7, weight: { vectors: 0 } });
  const half = plan({ dtype: 'float16', weight: { strides: [8, 1], offset: 0 } });
  expect(half).toMatchObject({ constants: { F16: true }, params: { output_pitch: 8, weight: { vectors: 1 } } });
  expect(plan({ rows: 70_000, columns: 1024 }).workgroups).toEqual([35_000, 2, 1]);
});

function gradientProblem(given: Partial<EmbeddingGradientProblem> = {}): EmbeddingGradientProblem {
  const { rows = 4096, columns = 512 } = given;
  return { op: 'test', rows, tableRows: 32_768, columns, dtype: 'float32', gradient: dense(rows, columns), ...given };
}
const planGradient = (given?: Partial<EmbeddingGradientProblem>) =>
  planEmbeddingGradient(gradientProblem(given), DEFAULTS);

test('planEmbeddingGradient is a pure function', () => {
  const given = frozen(gradientProblem());
  expect(planEmbeddingGradient(given, DEFAULTS)).toEqual(planEmbeddingGradient(given, DEFAULTS));
});

test('planEmbeddingGradient: rows that are looked up often get more lanes', () => {
  expect(planGradient().params).toMatchObject({
    lanes: 4,
    quads: 128,
    column_groups: 4,
    groups: 4 * 4096,
    gradient: { vectors: 1 },
  });
  expect(planGradient({ tableRows: 65 }).params).toMatchObject({ lanes: 16, column_groups: 16 });
});

test('planEmbeddingGradient: few columns get as many as fill the workgroup', () => {
  expect(planGradient({ columns: 20 }).params).toMatchObject({ lanes: 16, quads: 5, column_groups: 1 });
  expect(planGradient({ columns: 1 }).params).toMatchObject({ lanes: 128, column_groups: 1, gradient: { vectors: 0 } });
});

test('planEmbeddingGradient: a CPU driver gets few lanes', () => {
  const { constants, params } = planEmbeddingGradient(gradientProblem({ columns: 128, tableRows: 65 }), CPU_DRIVER);
  expect(constants).toMatchObject({ WORKGROUP: 32 });
  expect(params).toMatchObject({ lanes: 1, quads: 32, column_groups: 1 });
});

test('both fold more workgroups than one dimension holds', () => {
  expect(planGradient({ rows: 70_000, columns: 4 }).workgroups).toEqual([35_000, 2, 1]);
  expect(planOrderIds({ op: 'test', count: 5_000_000, idsOffset: 0 }, DEFAULTS).workgroups).toEqual([39_063, 2, 1]);
});
