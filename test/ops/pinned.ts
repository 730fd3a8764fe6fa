import { afterAll, beforeAll, expect } from 'vitest';
import { chooseAttention } from '../../src/kernels/fused-attention.ts';
import { chooseMatmul } from '../../src/kernels/matmul.ts';
import { testDevice } from '../device.ts';
import type { Float } from './upload.ts';

/** For the tests of the surrounding describe: `op` takes this kernel wherever it can compute the problem. */
export function pinKernel(
  op: 'flashAttention' | 'localAttention' | 'matmul',
  name: string,
  dtype: Float = 'float32',
): void {
  beforeAll(async () => {
    const { traits, kernels } = await testDevice();
    (kernels.pinned as Map<string, string>).set(op, name);
    const { variant } =
      op === 'matmul'
        ? chooseMatmul({ batchShape: [], rows: 70, columns: 70, aDType: dtype }, traits, kernels)
        : chooseAttention({ op, dtype, headDim: 8, valueDim: 8 }, traits, kernels);
    expect(variant.name).toBe(name);
  });
  afterAll(async () => {
    const { kernels } = await testDevice();
    (kernels.pinned as Map<string, string>).delete(op);
  });
}
