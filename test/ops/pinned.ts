import { afterAll, beforeAll, expect } from 'vitest';
import { chooseAttention } from '../../src/kernels/fused-attention.ts';
import { chooseMatmul } from '../../src/kernels/matmul.ts';
import { testDevice } from '../device.ts';

/** For the tests of the surrounding describe: `op` takes this kernel wherever it can compute the problem. */
export function pinKernel(op: 'flashAttention' | 'localAttention' | 'matmul', name: string): void {
  beforeAll(async () => {
    const { traits, kernels } = await testDevice();
    (kernels.pinned as Map<string, string>).set(op, name);
    const { variant } =
      op === 'matmul'
        ? chooseMatmul({ batchShape: [], rows: 70, columns: 70, aDType: 'float32' }, traits, kernels)
        : chooseAttention(op, { op, dtype: 'float32', headDim: 8, valueDim: 8 }, traits, kernels);
    expect(variant.name).toBe(name);
  });
  afterAll(async () => {
    const { kernels } = await testDevice();
    (kernels.pinned as Map<string, string>).delete(op);
  });
}
