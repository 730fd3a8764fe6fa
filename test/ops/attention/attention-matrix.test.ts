/** The attention kernel for tensor cores, on a device that has them or in emulation. */
import { describe, expect, test } from 'vitest';
import { attentionLaunch, attentionVariants } from '../../../src/kernels/attention.ts';
import type { AttentionMatrixVariant } from '../../../src/kernels/matrix.ts';
import { testDevice, triesEveryKernel } from '../../device.ts';
import { areEmulated, compilesFast, useMatrices } from '../../emulation/emulate-matrices.ts';
import { attentionProblem } from '../../kernels/problems.ts';
import { describeInMatrix } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { expectClose } from '../../reference/compare.ts';
import { tolerances } from '../../reference/tolerances.ts';
import { expectAttention, type Problem, referenceAttention, runAttention } from './attention-run.ts';
import { boolMask, floatMask, map, randomOperands } from './attention-suite.ts';
import { pinKernel } from './pinned.ts';
import { upload } from '../upload.ts';

const SLOW = 'this driver unrolls the emulation of many matrices, and compiles it for a minute';

const flash = (problem: Problem, options?: { isFar?: boolean }) =>
  expectAttention('flashAttention', problem, 'float16', options);

describe.runIf(await triesEveryKernel())('attention, pinned to matrix-32x32', () => {
  useMatrices();
  pinKernel('flashAttention', 'matrix-32x32', 'float16');

  test.each([
    [1, 1, 1, 1],
    [1, 33, 8, 8],
    [33, 31, 16, 5],
    [32, 64, 32, 32],
    [70, 130, 30, 31],
  ])('lengths %i and %i, head dim %i and value dim %i', async (queries, keys, dim, valueDim) => {
    await flash(randomOperands(new Random(queries), { batch: 1, queries, keys, dim, valueDim }));
  });

  test('grouped heads, each operand laid out in its own way', async () => {
    const layouts = {
      q: { axes: [0, 2, 1, 3] },
      k: { axes: [0, 1, 3, 2] },
      v: { before: [0, 0, 1, 8], after: [1, 0, 0, 8] },
    };
    const operands = randomOperands(new Random(1), { heads: 6, kvHeads: 2, queries: 35, keys: 41, dim: 24 });
    await flash({ ...operands, layouts });
  });

  test.each([
    [40, 33],
    [33, 100],
  ])('causal in both alignments, lengths %i and %i', async (queries, keys) => {
    const operands = randomOperands(new Random(2), { batch: 1, queries, keys, dim: 16 });
    for (const isCausal of ['top-left', 'bottom-right'] as const) await flash({ ...operands, isCausal });
  });

  test('masks of every kind', async () => {
    const random = new Random(3);
    const [queries, keys] = [35, 70];
    const operands = randomOperands(random, { queries, keys, dim: 16 });
    const keyMask = boolMask(random, [2, keys], 0.7);
    for (const mask of [boolMask(random, [queries, keys]), floatMask(random, [2, 1, queries, keys]), undefined]) {
      await flash({ ...operands, mask, keyMask });
      await flash({ ...operands, mask, isCausal: true });
    }
  });

  test('rows without keys', async () => {
    const operands = randomOperands(new Random(4), { queries: 40, keys: 33 });
    const { output, logSumExp } = await flash({ ...operands, isCausal: 'bottom-right' });
    expect(logSumExp.filter((value) => value === -Infinity)).toHaveLength(2 * 2 * 7);
    expect(output.subarray(0, 7 * 8).every((value) => value === 0)).toBe(true);
    const nothing = { shape: [1], data: Uint8Array.of(0) };
    await flash({ ...operands, v: map(operands.v, () => NaN), mask: nothing });
  });

  // scores of key j are about j · step: below, at and above the slack of 8 from one tile of 32 keys to the next
  test.each([0.1, 0.25, 1, -1, 200])('scores that grow by %f from key to key', async (step) => {
    const random = new Random(5);
    const [queries, keys] = [33, 150];
    const operands = randomOperands(random, { batch: 1, heads: 1, queries, keys, dim: 2 });
    const problem = {
      q: map(operands.q, (x, i) => (i % 2 ? x : 1)),
      // rows grow at different paces, so that only some outgrow their maximum at a time
      k: map(operands.k, (x, i) => (i % 2 ? x : 0)),
      v: operands.v,
      mask: {
        shape: [queries, keys],
        data: Float32Array.from({ length: queries * keys }, (_, i) => {
          const pace = Math.floor(i / keys) % 3;
          return Math.fround((i % keys) * step * pace);
        }),
      },
      scale: 1,
    };
    await flash(problem, { isFar: true });
  });

  test.each([1e4, -1e4])('an outlier logit of %f', async (outlier) => {
    const [queries, keys, at] = [5, 70, 37];
    const operands = randomOperands(new Random(6), { batch: 1, heads: 1, queries, keys, dim: 2, valueDim: 5 });
    const problem = {
      q: map(operands.q, (x, i) => (i % 2 ? x : 100)),
      k: map(operands.k, (x, i) => (i % 2 ? x : i === 2 * at ? outlier / 100 : 0)),
      v: operands.v,
      scale: 1,
    };
    await flash(problem);
  });

  test.each([NaN, Infinity])('a masked key that holds %f never leaks, and a visible one does', async (value) => {
    const [queries, keys, hidden] = [35, 41, 38];
    // value dims that are staged in octets, and that are not
    for (const valueDim of [8, 5]) {
      const operands = randomOperands(new Random(7), { batch: 1, heads: 1, queries, keys, valueDim });
      const seen = Uint8Array.from({ length: queries * keys }, (_, i) =>
        i % keys === hidden ? Math.floor(i / keys) % 2 : 1,
      );
      const mask = { shape: [queries, keys], data: seen };
      const v = map(operands.v, (x, i) => (i === hidden * valueDim + 3 ? value : x));
      const { output } = await runAttention('flashAttention', { ...operands, v, mask }, 'float16');
      const expected = referenceAttention({ ...operands, mask }, 'float16').output.data;
      output.forEach((x, i) => {
        const isSpoilt = Math.floor(i / valueDim) % 2 === 1 && i % valueDim === 3;
        if (isSpoilt) expect(Number.isFinite(x)).toBe(false);
        else expect(Math.abs(x - expected[i])).toBeLessThan(2e-3);
      });
    }
  });

  test('the same bits each time', async () => {
    const operands = randomOperands(new Random(8), { queries: 70, keys: 100, dim: 20 });
    const first = await runAttention('flashAttention', operands, 'float16');
    expect(await runAttention('flashAttention', operands, 'float16')).toEqual(first);
  });
});

describeInMatrix('attention, pinned to matrix-32x32 for AMD, with v staged by columns', () => {
  useMatrices('amd');
  pinKernel('flashAttention', 'matrix-32x32', 'float16');

  test.each([
    [1, 1, 1, 1],
    [33, 31, 16, 5],
    [70, 130, 30, 24],
  ])('lengths %i and %i, head dim %i and value dim %i', async (queries, keys, dim, valueDim) => {
    await flash(randomOperands(new Random(queries), { batch: 1, queries, keys, dim, valueDim }));
  });

  test('v in any layout', async () => {
    const operands = randomOperands(new Random(1), { heads: 6, kvHeads: 2, queries: 35, keys: 41, dim: 24 });
    await flash({ ...operands, layouts: { v: { axes: [0, 1, 3, 2] } } });
    await flash({ ...operands, layouts: { v: { before: [0, 0, 1, 8], after: [1, 0, 0, 8] } } });
  });

  test.each([8, 5])('a hidden value of NaN, %i value dims', async (valueDim) => {
    const [queries, keys, hidden] = [35, 41, 38];
    const operands = randomOperands(new Random(7), { batch: 1, heads: 1, queries, keys, valueDim });
    const mask = { shape: [keys], data: Uint8Array.from({ length: keys }, (_, i) => (i === hidden ? 0 : 1)) };
    const spoilt = { ...operands, v: map(operands.v, (x, i) => (i === hidden * valueDim + 3 ? NaN : x)) };
    const { output } = await runAttention('flashAttention', { ...spoilt, mask }, 'float16');
    const expected = referenceAttention({ ...operands, mask }, 'float16').output.data;
    expectClose(output, expected, tolerances.float16.attention, 'output');
  });
});

describeInMatrix('local attention, pinned to matrix-32x32', () => {
  useMatrices();
  pinKernel('localAttention', 'matrix-32x32', 'float16');

  test.each([
    [0, 0],
    [20, 5],
    [40, 70],
  ])('a window of %i keys to the left and %i to the right', async (left, right) => {
    const operands = randomOperands(new Random(9), { batch: 1, queries: 100, keys: 130, dim: 8 });
    await expectAttention('localAttention', { ...operands, window: { left, right } }, 'float16');
  });
});

describeInMatrix('attention by larger tiles', () => {
  useMatrices();

  const run = async (kernel: string, dim: number) => {
    const device = await testDevice();
    const size = { kernelsOf: 'flashAttention', dtype: 'float16', headDim: dim, valueDim: dim } as const;
    expect(attentionVariants(size, device.traits).map(({ name }) => name)).toContain(kernel);
    const random = new Random(dim);
    const [queries, keys] = [140, 150];
    const operands = randomOperands(random, { batch: 1, heads: 2, kvHeads: 1, queries, keys, dim });
    const { kernels } = device;
    device.kernels = { pinned: new Map([['flashAttention', kernel]]), tuned: new Map() };
    try {
      await flash(operands);
      await flash({ ...operands, isCausal: 'bottom-right', scale: 3 }, { isFar: true });
      await flash({ ...operands, mask: floatMask(random, [queries, keys]) });
    } finally {
      device.kernels = kernels;
    }
  };

  test.for([64, 80, 40])('matrix-64x32, head dim %i', async (dim, { skip }) => {
    skip(!(await compilesFast()), SLOW);
    await run('matrix-64x32', dim);
  });

  test.for([
    ['matrix-64x32', 128],
    ['matrix-64x32', 256],
    ['matrix-64x64', 64],
    ['matrix-128x32', 32],
    ['matrix-128x32', 128],
  ] as const)('%s, head dim %i', async ([kernel, dim], { skip }) => {
    skip(areEmulated(), 'for tensor cores: WEBGPU_ATTENTION_EXPERIMENTAL=1 on a GPU that has them');
    await run(kernel, dim);
  });

  // what those do in more memory, or with larger subgroups, than software drivers have: several matrices of keys a
  // subgroup, more rows than pass through the memory of k and v at once, and several lanes a row
  test.for([
    { blockQ: 32, blockK: 64, rowGroups: 2, columnGroups: 2, dim: 32 },
    { blockQ: 64, blockK: 16, rowGroups: 4, columnGroups: 1, dim: 32 },
    { blockQ: 16, blockK: 64, rowGroups: 1, columnGroups: 4, dim: 64 },
  ])('$blockQ × $blockK by $rowGroups × $columnGroups subgroups', async (tile, { skip }) => {
    skip(tile.blockQ > 16 && !(await compilesFast()), SLOW);
    const device = await testDevice();
    const [queryLength, keyLength, headDim] = [70, 130, 24];
    const sizes = { batch: 1, heads: 2, queries: queryLength, keys: keyLength, dim: headDim };
    const operands = randomOperands(new Random(10), sizes);
    const { subgroupMatrix, subgroupSize: lanes } = device.traits;
    const subgroups = {
      shaders: subgroupMatrix!.attention,
      lanes,
      requiresLanes: false,
      turnsRight: tile.blockQ === 64,
    };
    const kernel = { name: 'test', family: 'matrix', ...subgroups, bytes: 0 } as const;
    const variant: AttentionMatrixVariant = { ...kernel, ...tile };
    const given = { dtype: 'float16', heads: 2, queryLength, keyLength, headDim } as const;
    const launch = attentionLaunch(attentionProblem(given), variant, 1, device.traits);
    const output = device.scope(() => {
      const [q, k, v] = [operands.q, operands.k, operands.v].map((array) => upload(device, array, 'float16'));
      const made = device.zeros([1, 2, queryLength, headDim], { dtype: 'float16' });
      device.dispatch('test', launch, { q, k, v, output: made });
      return made;
    });
    const expected = referenceAttention({ ...operands, scale: 1 }, 'float16').output.data;
    expectClose(await output.data(), expected, tolerances.float16.attention, 'output');
    output.dispose();
  });
});
