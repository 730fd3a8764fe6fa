/** Whichever kernel is tuned or pinned, the result is the reference's. */
import { describe, test } from 'vitest';
import { matmul, type TunableOp } from '../../src/index.ts';
import { tuningProblems } from '../../src/tuning/problems.ts';
import { testDevice } from '../device.ts';
import { expectAttention } from '../ops/attention/attention-run.ts';
import { randomOperands } from '../ops/attention/attention-suite.ts';
import { pinKernel } from '../ops/attention/pinned.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { matmul as reference } from '../reference/matmul.ts';
import { matmulTolerance } from '../reference/tolerances.ts';

const device = await testDevice();

/** The kernels that the tuner tries for a class of sizes: not all of them would be the default of any device. */
function kernelsOf(op: TunableOp, sizeClass: string | number): readonly string[] {
  const problems = tuningProblems(device.traits, { ops: [op], dtypes: ['float32'], headDims: [32] });
  return problems.find((problem) => problem.sizeClass === sizeClass)!.kernels;
}

describe.each(['flashAttention', 'localAttention'] as const)('%s', (op) => {
  describe.each(kernelsOf(op, 32))('by %s', (kernel) => {
    pinKernel(op, kernel);

    test('over ragged lengths, causal in a window', async () => {
      const operands = randomOperands(new Random(1), { queries: 37, keys: 41, dim: 24 });
      const window = op === 'localAttention' ? { left: 9, right: -1 } : undefined;
      await expectAttention(op, operands, 'float32');
      await expectAttention(op, { ...operands, window, isCausal: 'bottom-right' }, 'float32');
    });
  });
});

describe('matmul', () => {
  describe.each(kernelsOf('matmul', 'few'))('by %s', (kernel) => {
    pinKernel('matmul', kernel);

    test('over ragged lengths', async () => {
      const random = new Random(2);
      const [a, b] = [
        [2, 37, 41],
        [41, 67],
      ].map((shape) => ({ shape, data: random.normals(shape) }));
      const product = device.scope(() => matmul(device.tensor(a.data, a.shape), device.tensor(b.data, b.shape)));
      expectClose(await product.data(), reference(a, b).data, matmulTolerance(41), kernel);
      product.dispose();
    });
  });
});
