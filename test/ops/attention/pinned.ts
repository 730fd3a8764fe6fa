import { afterAll, beforeAll, beforeEach, expect } from 'vitest';
import { attentionVariants, chooseAttention } from '../../../src/kernels/attention.ts';
import { chooseAttentionGradient, gradientVariants } from '../../../src/kernels/attention-gradient.ts';
import { chooseMatmul, matmulVariants } from '../../../src/kernels/matmul.ts';
import type { Device, TunableOp } from '../../../src/index.ts';
import { HAS_DEFAULT_LIMITS, testDevice } from '../../device.ts';
import type { Float } from '../upload.ts';

/**
 * For the tests of the surrounding describe: `op` takes this kernel wherever it can compute the problem. A device with default
 * limits and no features lacks some kernels, and skips their tests. `dim`: head and value dim of the tests' problems.
 */
export function pinKernel(op: TunableOp, name: string, dtype: Float = 'float32', dim = 8): void {
  let taken: string;
  beforeAll(async () => {
    const { traits, kernels } = await testDevice();
    (kernels.pinned as Map<string, string>).set(op, name);
    const dims = { dtype, headDim: dim, valueDim: dim };
    const choose = () => {
      switch (op) {
        case 'matmul':
          return chooseMatmul({ batchShape: [], rows: 70, columns: 70, aDType: dtype }, traits, kernels);
        case 'attentionGradient':
          return chooseAttentionGradient({ kernelsOf: 'flashAttention', ...dims }, 'key', traits, kernels);
        case 'flashAttention':
        case 'localAttention':
          return chooseAttention({ kernelsOf: op, ...dims }, traits, kernels);
      }
    };
    taken = choose().variant.name;
    if (!HAS_DEFAULT_LIMITS) expect(taken).toBe(name);
  });
  beforeEach((context) => context.skip(taken !== name, `the device does not have ${name}`));
  afterAll(async () => {
    const { kernels } = await testDevice();
    (kernels.pinned as Map<string, string>).delete(op);
  });
}

/**
 * For the surrounding describe: skips its tests on a CPU driver with wide subgroups (lavapipe), which takes seconds to compile the
 * kernels that GPUs take, and never takes them itself.
 */
export function skipOnWideSubgroups(): void {
  beforeEach(async (context) => {
    const { traits } = await testDevice();
    context.skip(
      traits.isSoftware && traits.subgroupSize >= 8,
      'a CPU driver with wide subgroups compiles kernels for GPUs for seconds, and takes others',
    );
  });
}

/** The same if `name` is a tile kernel. The driver with narrow subgroups (SwiftShader) takes those by itself. */
export function skipTilesOnWideSubgroups(name: string): void {
  if (name.startsWith('tile')) skipOnWideSubgroups();
}

/** Names of the kernels that the device has for small problems of an op, in either dtype. */
export function kernelsOf(op: TunableOp, { traits }: Device): readonly string[] {
  const size = { headDim: 32, valueDim: 32 };
  const names = (['float32', 'float16'] as const).flatMap((dtype) => {
    switch (op) {
      case 'matmul':
        return matmulVariants({ batchShape: [], rows: 70, columns: 70, aDType: dtype }, traits).map(({ name }) => name);
      case 'attentionGradient':
        return gradientVariants({ ...size, dtype, kernelsOf: 'flashAttention' }, 'key', traits).map(({ name }) => name);
      case 'flashAttention':
      case 'localAttention':
        return attentionVariants({ ...size, dtype, kernelsOf: op, rows: 1 }, traits).map(({ name }) => name);
    }
  });
  return [...new Set(names)];
}
