import { expect, test } from 'vitest';
import { planEmbedding, type EmbeddingProblem } from '../../src/kernels/embedding.ts';
import { DEFAULTS, dense, frozen } from './problems.ts';

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
  expect(plan().params).toMatchObject({ quads: 10, row_quads: 2, output_pitch: 7, vector_loads: 0 });
  const half = plan({ dtype: 'float16', weight: { strides: [8, 1], offset: 0 } });
  expect(half).toMatchObject({ constants: { F16: true }, params: { output_pitch: 8, vector_loads: 1 } });
  expect(plan({ rows: 70_000, columns: 1024 }).workgroups).toEqual([35_000, 2, 1]);
});
