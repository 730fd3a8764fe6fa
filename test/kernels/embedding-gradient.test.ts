import { expect, test } from 'vitest';
import { type EmbeddingGradientProblem, planEmbeddingGradient } from '../../src/kernels/embedding-gradient.ts';
import { planOrderIds } from '../../src/kernels/order-ids.ts';
import { CPU_DRIVER, DEFAULTS, dense, frozen } from './problems.ts';

function problem(given: Partial<EmbeddingGradientProblem> = {}): EmbeddingGradientProblem {
  const { rows = 4096, columns = 512 } = given;
  return { op: 'test', rows, tableRows: 32_768, columns, dtype: 'float32', gradient: dense(rows, columns), ...given };
}
const plan = (given?: Partial<EmbeddingGradientProblem>) => planEmbeddingGradient(problem(given), DEFAULTS);

test('planEmbeddingGradient is a pure function', () => {
  const given = frozen(problem());
  expect(planEmbeddingGradient(given, DEFAULTS)).toEqual(planEmbeddingGradient(given, DEFAULTS));
});

test('planEmbeddingGradient: rows that are looked up often get more lanes', () => {
  expect(plan().params).toMatchObject({ lanes: 4, quads: 128, column_groups: 4, groups: 4 * 4096, vector_loads: 1 });
  expect(plan({ tableRows: 65 }).params).toMatchObject({ lanes: 16, column_groups: 16 });
});

test('planEmbeddingGradient: few columns get as many as fill the workgroup', () => {
  expect(plan({ columns: 20 }).params).toMatchObject({ lanes: 16, quads: 5, column_groups: 1 });
  expect(plan({ columns: 1 }).params).toMatchObject({ lanes: 128, column_groups: 1, vector_loads: 0 });
});

test('planEmbeddingGradient: a CPU driver gets few lanes', () => {
  const { constants, params } = planEmbeddingGradient(problem({ columns: 128, tableRows: 65 }), CPU_DRIVER);
  expect(constants).toMatchObject({ WORKGROUP: 32 });
  expect(params).toMatchObject({ lanes: 1, quads: 32, column_groups: 1 });
});

test('both fold more workgroups than one dimension holds', () => {
  expect(plan({ rows: 70_000, columns: 4 }).workgroups).toEqual([35_000, 2, 1]);
  expect(planOrderIds({ op: 'test', count: 5_000_000, idsOffset: 0 }, DEFAULTS).workgroups).toEqual([39_063, 2, 1]);
});
