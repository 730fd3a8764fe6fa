/** The gradient's kernels for GPUs, which no CPU driver chooses by itself: of dims and lengths that need several chunks and steps. */
import { beforeEach, describe, expect, test } from 'vitest';
import { createBlockMask, type Device, maskMod } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { Random } from '../../random.ts';
import type { OutputGradients } from '../../reference/attention-gradient.ts';
import { expectClose } from '../../reference/compare.ts';
import type { HostArray } from '../../reference/host-array.ts';
import type { Float } from '../upload.ts';
import { expectGradients, runGradients } from './attention-backward-run.ts';
import type { Problem } from './attention-run.ts';
import { boolMask, floatMask, map, randomOperands } from './attention-suite.ts';
import { pinKernel } from './pinned.ts';

const random = new Random(61);

function gradientsFor({ q, v }: Problem): OutputGradients {
  const rows = q.shape.slice(0, -1);
  const normals = (shape: number[]): HostArray => ({ shape, data: random.normals(shape) });
  return { output: normals([...rows, v.shape.at(-1)!]), logSumExp: normals(rows) };
}

function check(problem: Problem, dtype: Float = 'float32') {
  return expectGradients('flashAttention', problem, gradientsFor(problem), dtype);
}

describe.each([
  ['register-64x64-4x8', 32, 32, 64],
  ['register-32x64-4x8', 64, 64, 64],
  ['register-16x128-4x8', 128, 128, 128],
  ['register-16x128-4x8', 70, 101, 128],
])('%s, head dim %i, value dim %i', (name, dim, valueDim, block) => {
  pinKernel('attentionGradient', name, 'float32', Math.max(dim, valueDim));
  beforeEach(async (context) => {
    const { traits } = await testDevice();
    context.skip(
      traits.isSoftware && traits.subgroupSize >= 8,
      'a CPU driver with wide subgroups compiles these kernels for a minute, and takes others',
    );
  });
  const sizes = { batch: 1, heads: 2, kvHeads: 1, queries: 150, keys: 170, dim, valueDim };

  test('everything visible, bands, and packed sequences', async () => {
    const operands = randomOperands(random, sizes);
    await check(operands);
    await check({ ...operands, isCausal: true });
    await check({ ...operands, window: { left: 30, right: 5, align: 'bottom-right' } });
    const [queryOffsets, keyOffsets] = [
      [0, 20, 20, 147, 150],
      [0, 30, 31, 31, 170],
    ];
    await check({ ...operands, queryOffsets, keyOffsets, isCausal: 'bottom-right' });
  });

  test('float16', async () => {
    const operands = randomOperands(random, sizes);
    await check(operands, 'float16');
    await check({ ...operands, isCausal: 'bottom-right' }, 'float16');
  });

  test('masks and modified scores', async () => {
    const operands = randomOperands(random, sizes);
    await check({ ...operands, mask: floatMask(random, [150, 170]), isCausal: true });
    await check({ ...operands, mask: boolMask(random, [2, 150, 1]), keyMask: boolMask(random, [1, 170]) });
    await check({ ...operands, dropoutP: 0.3, dropoutSeed: 5, isCausal: true });
    await check({ ...operands, softcap: 2, alibiSlopes: { shape: [2], data: Float32Array.of(0.1, 0.02) } });
  });

  test('block masks', async () => {
    const operands = randomOperands(random, { ...sizes, queries: 300, keys: 400 });
    // documents of 150 positions
    const isSeen = (_batch: number, _head: number, query: number, key: number) =>
      Math.floor(query / 150) === Math.floor(key / 150);
    const source = `fn mask_mod(batch: u32, head: u32, query: u32, key: u32) -> bool { return query / 150u == key / 150u; }`;
    const modifiers = (on: Device) => ({
      blockMask: createBlockMask(on, maskMod(source), { queryLength: 300, keyLength: 400, blockSize: block }),
    });
    await check({ ...operands, maskMod: isSeen, modifiers });
    await check({ ...operands, maskMod: isSeen, modifiers, window: { left: 90, right: 60 } });
  });

  test('what hidden keys and hidden queries hold reaches nothing', async () => {
    const operands = randomOperands(random, sizes);
    const data = Uint8Array.from({ length: 150 * 170 }, (_, at) =>
      Number((at % 170) % 70 !== 0 && Math.floor(at / 170) % 50 !== 0),
    );
    const problem = { ...operands, mask: { shape: [150, 170], data } };
    const gradients = gradientsFor(problem);
    const expected = await expectGradients('flashAttention', problem, gradients, 'float32');
    const poison = [NaN, Infinity, -Infinity];
    const rows = (x: HostArray, step: number) =>
      map(x, (value, at) =>
        (Math.floor(at / x.shape.at(-1)!) % x.shape.at(-2)!) % step === 0 ? poison[at % 3] : value,
      );
    const poisoned = { ...problem, q: rows(problem.q, 50), k: rows(problem.k, 70), v: rows(problem.v, 70) };
    const output = rows(gradients.output!, 50);
    const got = await runGradients('flashAttention', poisoned, { ...gradients, output }, 'float32');
    for (const leaf of ['q', 'k', 'v'] as const) {
      expectClose(got[leaf]!, expected[leaf]!, { atol: 1e-5, rtol: 1e-4 }, leaf);
    }
  });

  test('what lies behind the last query and the last key changes no bit', async () => {
    const operands = randomOperands(random, { ...sizes, kvHeads: 2 });
    const gradients = gradientsFor(operands);
    // behind the rows of the first head lie those of the second
    const poison = (x: HostArray) => map(x, (value, at) => (at >= x.data.length / 2 ? NaN : value));
    const clean = await runGradients('flashAttention', operands, gradients, 'float32');
    const spoilt = { ...operands, q: poison(operands.q), k: poison(operands.k), v: poison(operands.v) };
    const given = { output: poison(gradients.output!), logSumExp: poison(gradients.logSumExp!) };
    const got = await runGradients('flashAttention', spoilt, given, 'float32');
    for (const leaf of ['q', 'k', 'v'] as const) {
      const half = clean[leaf]!.length / 2;
      expect(got[leaf]!.slice(0, half)).toEqual(clean[leaf]!.slice(0, half));
    }
  });
});
