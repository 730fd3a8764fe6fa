import { afterAll, beforeAll, beforeEach, expect } from 'vitest';
import { chooseAttention } from '../../../src/kernels/attention.ts';
import { chooseMatmul } from '../../../src/kernels/matmul.ts';
import { HAS_DEFAULT_LIMITS, testDevice } from '../../device.ts';
import type { Float } from '../upload.ts';

/**
 * For the tests of the surrounding describe: `op` takes this kernel wherever it can compute the problem. A device with default
 * limits and no features lacks some kernels, and skips their tests.
 */
export function pinKernel(
  op: 'flashAttention' | 'localAttention' | 'matmul',
  name: string,
  dtype: Float = 'float32',
): void {
  let taken: string;
  beforeAll(async () => {
    const { traits, kernels } = await testDevice();
    (kernels.pinned as Map<string, string>).set(op, name);
    const { variant } =
      op === 'matmul'
        ? chooseMatmul({ batchShape: [], rows: 70, columns: 70, aDType: dtype }, traits, kernels)
        : chooseAttention({ kernelsOf: op, dtype, headDim: 8, valueDim: 8 }, traits, kernels);
    taken = variant.name;
    if (!HAS_DEFAULT_LIMITS) expect(taken).toBe(name);
  });
  beforeEach((context) => context.skip(taken !== name, `the device does not have ${name}`));
  afterAll(async () => {
    const { kernels } = await testDevice();
    (kernels.pinned as Map<string, string>).delete(op);
  });
}

/**
 * For the surrounding describe: skips its tests of a tile kernel on a CPU driver with wide subgroups (lavapipe), which never takes
 * those and compiles each for seconds. The driver with narrow ones (SwiftShader) takes them by itself.
 */
export function skipTilesOnWideSubgroups(name: string): void {
  beforeEach(async (context) => {
    const { traits } = await testDevice();
    context.skip(
      name.startsWith('tile') && traits.isSoftware && traits.subgroupSize >= 8,
      'a CPU driver with wide subgroups compiles tile kernels for seconds, and takes others',
    );
  });
}
