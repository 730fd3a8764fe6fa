import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../src/index.ts';
import { NO_CHOICES } from '../../src/kernels/choice.ts';
import { chooseMatmul, depthSplits, matmulVariants, planMatmul } from '../../src/kernels/matmul.ts';
import { CPU_DRIVER, DEFAULTS, dense, frozen, matmulProblem } from './problems.ts';

describe('chooseMatmul', () => {
  test.each([
    [1, 1024, 1024, 64],
    [1, 1024, 960, 32],
    [1, 4096, 4096, 64],
    [256, 64, 64, 64],
    [255, 64, 64, 32],
    [1, 1, 4096, 32],
    [1000, 32, 4096, 32],
    [1000, 4096, 32, 32],
    [64, 33, 256, 64],
  ])('batch %d, %d × %d: tiles of %d', (batch, rows, columns, size) => {
    const problem = { batchShape: [batch], rows, columns, aDType: 'float32' as const };
    const { variant, reason } = chooseMatmul(problem, DEFAULTS, NO_CHOICES);
    expect(variant).toMatchObject({ rows: size, columns: size });
    expect(reason).not.toBe('');
  });
});

describe('depthSplits', () => {
  test.each([
    // rows, columns, depth: on a GPU, on a CPU driver
    [64, 64, 8192, 32, 4],
    [32, 32, 65_536, 256, 16],
    [512, 512, 8192, 1, 1],
    [64, 64, 511, 1, 1],
    [64, 64, 512, 2, 2],
    [64, 64, 3 * 512, 4, 4],
    [64, 64, 1023, 1, 1],
  ])('%d × %d, %d deep', (rows, columns, depth, gpu, cpu) => {
    expect(depthSplits({ rows, columns, depth }, DEFAULTS)).toBe(gpu);
    expect(depthSplits({ rows, columns, depth }, CPU_DRIVER)).toBe(cpu);
  });
});

describe('a choice', () => {
  const size = { batchShape: [], rows: 512, columns: 512, aDType: 'float32' as const };
  const tuned = new Map([['matmul/float32/few', { kernel: 'tile-64x64', date: '2026-11-23' }]]);

  test('follows the device class, what was tuned, what was pinned', () => {
    expect(chooseMatmul(size, CPU_DRIVER, NO_CHOICES).variant.name).toBe('subgroup');
    expect(chooseMatmul(size, DEFAULTS, { pinned: new Map(), tuned }).variant.name).toBe('tile-64x64');
    expect(chooseMatmul({ ...size, rows: 8 }, DEFAULTS, { pinned: new Map(), tuned }).variant.name).toBe('tile-32x32');
    const pinned = new Map([['matmul', 'tile-64x32']]);
    expect(chooseMatmul(size, DEFAULTS, { pinned, tuned }).variant.name).toBe('tile-64x32');
  });

  test('passes over a kernel that the device cannot run', () => {
    for (const name of ['subgroup', 'tile-128x128', 'nonsense']) {
      const pinned = new Map([['matmul', name]]);
      expect(chooseMatmul(size, DEFAULTS, { pinned, tuned: new Map() }).variant.name).toBe('tile-32x32');
    }
  });

  test('gives a GPU with wide subgroups no kernel that keeps so many rows', () => {
    const names = (subgroupSize: number) => matmulVariants(size, { ...DEFAULTS, subgroupSize }).map(({ name }) => name);
    expect(names(8)).toContain('subgroup');
    expect(names(32)).not.toContain('subgroup');
  });
});

describe('planMatmul', () => {
  const plan = (given: Parameters<typeof matmulProblem>[0], limits = DEFAULTS) =>
    planMatmul(matmulProblem(given), limits);

  test('is a pure function', () => {
    const problem = frozen(matmulProblem({ batchShape: [2, 3], rows: 5, columns: 6, depth: 7 }));
    expect(planMatmul(problem, DEFAULTS)).toEqual(planMatmul(problem, DEFAULTS));
  });

  test('one workgroup for each tile of the output', () => {
    const { workgroups, params, constants } = plan({ batchShape: [3], rows: 100, columns: 40, depth: 7 });
    expect(constants).toMatchObject({
      TILE_ROWS: 32,
      TILE_COLUMNS: 32,
      A_F16: false,
      B_F16: false,
      OUT_F16: false,
      ZERO_ANNIHILATES: false,
    });
    expect(params).toMatchObject({ rows: 100, columns: 40, depth: 7, row_tiles: 4, column_tiles: 2, end_group: 24 });
    expect(workgroups).toEqual([24, 1, 1]);
  });

  test('folds more workgroups than one dimension holds', () => {
    const { workgroups } = plan({ batchShape: [70_000], rows: 1, columns: 1, depth: 1 });
    expect(workgroups).toEqual([35_000, 2, 1]);
    expect(() => plan({ batchShape: [2 ** 17, 2 ** 16], rows: 1, columns: 1, depth: 1 })).toThrow(
      'test: the problem must need at most 4294836225 workgroups, got 8589934592',
    );
  });

  test('merges batch axes that both operands walk evenly', () => {
    const { params } = plan({ batchShape: [2, 3, 4, 5], rows: 2, columns: 2, depth: 2 });
    expect(params).toMatchObject({
      batch_shape: [1, 120],
      a: { batch_strides: [0, 0, 4] },
      b: { batch_strides: [0, 0, 4] },
    });
  });

  test('does not merge axes if one operand broadcasts one of them', () => {
    const { params } = plan({
      batchShape: [2, 3, 4],
      rows: 2,
      columns: 2,
      depth: 2,
      a: { strides: [48, 16, 4, 2, 1], offset: 0 },
      b: { strides: [4, 0, 0, 2, 1], offset: 0 },
    });
    expect(params).toMatchObject({
      batch_shape: [2, 12],
      a: { batch_strides: [0, 48, 4] },
      b: { batch_strides: [0, 4, 0] },
    });
  });

  test('grouped heads: the group axis of the key is a broadcast one', () => {
    // q [batch 2, key heads 3, group 4, 5, 8], k the same without the group
    const { params } = plan({
      batchShape: [2, 3, 4],
      rows: 5,
      columns: 7,
      depth: 8,
      a: dense(2, 3, 4, 5, 8),
      b: { strides: [168, 56, 0, 1, 8], offset: 0 },
    });
    expect(params).toMatchObject({
      batch_shape: [6, 4],
      a: { batch_strides: [0, 160, 40] },
      b: { batch_strides: [0, 56, 0] },
    });
  });

  test('refuses more than three batch axes that do not merge', () => {
    const strides = [1000, 0, 100, 0, 2, 1];
    const problem = { batchShape: [2, 3, 4, 5], rows: 2, columns: 2, depth: 2, a: { strides, offset: 0 } };
    expect(() => plan(problem)).toThrow(
      new ArgumentError('test: batch axes must merge into at most three evenly strided ones, got [2, 3, 4, 5]'),
    );
  });

  test('a linear layer is one matrix: the batch becomes rows', () => {
    const weight = { strides: [0, 0, 1, 16], offset: 0 };
    const { params, workgroups } = plan({ batchShape: [4, 10], rows: 5, columns: 8, depth: 16, b: weight });
    expect(params).toMatchObject({
      rows: 200,
      columns: 8,
      batch_shape: [1, 1],
      a: { strides: [1, 16] },
      b: { strides: [1, 16] },
    });
    expect(workgroups).toEqual([7, 1, 1]);
  });

  test('and takes the kernel of so many rows', () => {
    const weight = { strides: [0, 1, 1024], offset: 0 };
    const { choice } = plan({ batchShape: [64], rows: 32, columns: 1024, depth: 1024, b: weight });
    expect(choice.variant.name).toBe('tile-64x64');
  });

  test('but not where its rows are not evenly spaced', () => {
    const a = { strides: [1000, 16, 1], offset: 0 };
    const b = { strides: [0, 8, 1], offset: 0 };
    expect(plan({ batchShape: [4], rows: 10, columns: 8, depth: 16, a, b }).params).toMatchObject({
      rows: 10,
      batch_shape: [1, 4],
    });
  });

  test('nor where a is repeated', () => {
    const a = { strides: [0, 16, 1], offset: 0 };
    const b = { strides: [0, 8, 1], offset: 0 };
    expect(plan({ batchShape: [4], rows: 10, columns: 8, depth: 16, a, b }).params['rows']).toBe(10);
  });

  test('reads vectors along the depth, across it, or single elements', () => {
    const [none, alongDepth, acrossDepth] = [0, 1, 2];
    const expectVectors = (a: ReturnType<typeof dense>, b: ReturnType<typeof dense>, ...wanted: readonly number[]) => {
      const { params, constants } = plan({ a, b });
      expect([params['a'], params['b']]).toMatchObject(wanted.map((vectors) => ({ vectors })));
      expect(constants).toMatchObject({ A_VECTORS: wanted[0], B_VECTORS: wanted[1] });
    };
    expectVectors(dense(64, 64), dense(64, 64), alongDepth, acrossDepth);
    const transposed = { strides: [1, 64], offset: 0 };
    expectVectors(transposed, transposed, acrossDepth, alongDepth);
    expectVectors({ strides: [63, 1], offset: 0 }, { strides: [64, 1], offset: 3 }, none, none);
  });

  test('the output may lie in another order than its axes', () => {
    // [B, H, N, D] in memory as [B, N, H, D]
    const { params } = plan({
      batchShape: [2, 3],
      rows: 5,
      columns: 8,
      output: { strides: [120, 8, 24, 1], offset: 0 },
    });
    expect(params['output']).toEqual({ batch_strides: [0, 120, 8], row_stride: 24 });
  });

  test('the bias is found, or there is none', () => {
    expect(plan({ columns: 6, biasOffset: 5 }).params['bias']).toEqual({ offset: 5, columns: 6 });
    expect(plan({ columns: 6, biasOffset: 0 }).params['bias']).toEqual({ offset: 0, columns: 6 });
    expect(plan({ columns: 6 }).params['bias']).toEqual({ offset: 0, columns: 0 });
  });

  test('a new shape of the same tile and alignment specialises nothing new', () => {
    const { constants } = plan({ rows: 5, columns: 7, depth: 9 });
    expect(plan({ batchShape: [3, 4], rows: 20, columns: 601, depth: 1, biasOffset: 0 }).constants).toEqual(constants);
    expect(constants).toMatchObject({ A_VECTORS: 0, B_VECTORS: 0 });
    const aligned = plan({ rows: 5, columns: 8, depth: 12 });
    expect(plan({ batchShape: [3, 4], rows: 20, columns: 600, depth: 4 }).constants).toEqual(aligned.constants);
  });
});
