import { describe, expect, test } from 'vitest';
import { planBlockMask } from '../../src/kernels/block-mask.ts';
import { planModifiers } from '../../src/kernels/modifiers.ts';

const limits = { maxComputeWorkgroupsPerDimension: 65535 };
const problem = {
  op: 'createBlockMask',
  batch: 2,
  heads: 3,
  queryLength: 300,
  keyLength: 128,
  blockSize: 128,
  modifiers: planModifiers('createBlockMask', []),
  capturesAt: [],
};

describe('planBlockMask', () => {
  test('takes a workgroup for each block, those at the ends included', () => {
    const { params, workgroups } = planBlockMask(problem, limits);
    expect(params).toMatchObject({ rows: 3, columns: 1, groups: 18, heads: 3 });
    expect(workgroups).toEqual([18, 1, 1]);
  });

  test('folds what one dimension does not hold', () => {
    const { params, workgroups } = planBlockMask({ ...problem, queryLength: 2 ** 16, keyLength: 2 ** 15 }, limits);
    expect(params['groups']).toBe(2 * 3 * 512 * 256);
    expect(workgroups[0] * workgroups[1]).toBeGreaterThanOrEqual(786432);
    expect(Math.max(...workgroups)).toBeLessThanOrEqual(65535);
  });

  test('compiles one kernel for all sizes', () => {
    const { shader, constants } = planBlockMask(problem, limits);
    const other = planBlockMask({ ...problem, batch: 1, queryLength: 7, keyLength: 9000, blockSize: 32 }, limits);
    expect(other.shader).toBe(shader);
    expect(other.constants).toEqual(constants);
  });
});
