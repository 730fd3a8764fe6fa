import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, matmul } from '../../src/index.ts';
import { matmulVariants } from '../../src/kernels/matmul.ts';
import { product } from '../../src/ops/internal/product.ts';
import { testDevice, triesEveryKernel } from '../device.ts';
import { describeInMatrix, IS_MATRIX, narrow } from '../matrix/narrow.ts';
import { compilesFast, useMatrices } from '../emulation/emulate-matrices.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { matmul as reference } from '../reference/matmul.ts';
import { matmulTolerance } from '../reference/tolerances.ts';
import { pinKernel } from './attention/pinned.ts';
import { type Float, type Layout, stored, upload } from './upload.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

interface Product {
  a: HostArray;
  b: HostArray;
  bias?: HostArray;
  transposeA?: boolean;
  transposeB?: boolean;
  layouts?: Partial<Record<'a' | 'b' | 'bias', Layout>>;
}

const isBroad = await triesEveryKernel();

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

async function run({ a, b, bias, layouts = {}, ...options }: Product, dtype: Float) {
  const product = device.scope(() =>
    matmul(upload(device, a, dtype, layouts.a), upload(device, b, dtype, layouts.b), {
      ...options,
      bias: bias && upload(device, bias, dtype, layouts.bias),
    }),
  );
  const values = await product.data();
  product.dispose();
  return { product, values };
}

async function expectProduct(problem: Product, dtype: Float): Promise<void> {
  const { a, b, bias, layouts: _, ...options } = problem;
  const { product, values } = await run(problem, dtype);
  const expected = reference(stored(a, dtype), stored(b, dtype), { ...options, bias: bias && stored(bias, dtype) });
  expect(product.shape).toEqual(expected.shape);
  expect(product.dtype).toBe(dtype);
  const depth = a.shape.at(options.transposeA ? -2 : -1)!;
  expectClose(values, expected.data, matmulTolerance(depth, dtype), `${a.shape} · ${b.shape}`);
}

const random = new Random(1);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

describe.each(['float32', 'float16'] as const)('matmul, %s', (dtype) => {
  test.each([
    [1, 1, 1],
    [1, 17, 1],
    [3, 1, 5],
    [1, 300, 33],
    [33, 300, 1],
    [31, 32, 33],
    [32, 33, 31],
    [64, 64, 64],
    [65, 7, 130],
    [70, 129, 3],
  ])('[%i, %i] · [%i wide], either side transposed', async (rows, depth, columns) => {
    const bias = normals(columns);
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const a = transposeA ? normals(depth, rows) : normals(rows, depth);
        const b = transposeB ? normals(columns, depth) : normals(depth, columns);
        await expectProduct({ a, b, transposeA, transposeB }, dtype);
        await expectProduct({ a, b, transposeA, transposeB, bias }, dtype);
      }
    }
  });

  test.each([
    [[3], [3]],
    [[3], []],
    [[], [3]],
    [[2, 3], [3]],
    [
      [2, 1],
      [1, 3],
    ],
    [
      [2, 3, 4],
      [2, 1, 4],
    ],
    [
      [1, 3, 1],
      [2, 1, 4],
    ],
    [
      [2, 1, 2, 3],
      [2, 1, 2, 3],
    ],
  ])('batch axes %j and %j', async (left, right) => {
    await expectProduct({ a: normals(...left, 5, 7), b: normals(...right, 7, 6) }, dtype);
    await expectProduct(
      { a: normals(...left, 8, 4), b: normals(...right, 12, 4), transposeB: true, bias: normals(12) },
      dtype,
    );
  });

  test('tiles of 64 × 64', async () => {
    const bias = normals(34);
    for (const transposeB of [false, true]) {
      const [a, b] = [normals(64, 33, 19), transposeB ? normals(64, 34, 19) : normals(64, 19, 34)];
      await expectProduct({ a, b, transposeB, bias }, dtype);
    }
    // four neighbours at once along either axis
    await expectProduct({ a: normals(16, 68, 20), b: normals(20, 72), bias: normals(72) }, dtype);
    await expectProduct({ a: normals(16, 20, 68), b: normals(72, 20), transposeA: true, transposeB: true }, dtype);
  });

  test.each<[string, Layout]>([
    ['heads inside rows', { axes: [1, 0, 2] }],
    ['matrices transposed', { axes: [0, 2, 1] }],
    ['batches innermost', { axes: [1, 2, 0] }],
    ['slices that begin at odd elements', { before: [1, 1, 1], after: [0, 2, 3] }],
    ['slices whose rows are aligned', { before: [0, 3, 4], after: [1, 0, 4] }],
    ['permuted and sliced', { axes: [2, 0, 1], before: [0, 3, 1], after: [1, 0, 2] }],
  ])('operands with %s', async (_name, layout) => {
    const plain = {};
    for (const [rows, depth, columns] of [
      [8, 12, 16],
      [9, 7, 5],
      [36, 40, 44],
    ]) {
      const [a, b] = [normals(3, rows, depth), normals(3, depth, columns)];
      for (const layouts of [
        { a: layout, b: layout },
        { a: layout, b: plain },
        { a: plain, b: layout },
      ]) {
        await expectProduct({ a, b, layouts }, dtype);
      }
    }
  });

  test('a bias that is part of a larger one', async () => {
    const [a, b] = [normals(5, 7), normals(7, 9)];
    for (const before of [1, 2, 9]) {
      const layouts = { bias: { before: [before], after: [3] } };
      await expectProduct({ a, b, bias: normals(9), layouts }, dtype);
    }
  });

  test('NaN and infinity spoil what they reach, and nothing else', async () => {
    const [rows, depth, columns] = [40, 50, 45];
    const [a, b] = [normals(rows, depth), normals(depth, columns)];
    const { values: clean } = await run({ a, b }, dtype);
    const spoil = ({ shape, data }: HostArray, index: number, value: number) => ({
      shape,
      data: Float32Array.from(data, (x, at) => (at === index ? value : x)),
    });
    for (const value of [NaN, Infinity]) {
      const inA = await run({ a: spoil(a, 33 * depth + 2, value), b }, dtype);
      const inB = await run({ a, b: spoil(b, 2 * columns + 34, value) }, dtype);
      // SwiftShader rounds the neighbour of such a float16 to the next one
      const same = (x: number, wanted: number) =>
        expect(Math.abs(x - wanted)).toBeLessThanOrEqual(dtype === 'float32' ? 0 : Math.abs(wanted) * 2 ** -9);
      clean.forEach((wanted, at) => {
        if (Math.floor(at / columns) === 33) expect(Number.isFinite(inA.values[at])).toBe(false);
        else same(inA.values[at], wanted);
        if (at % columns === 34) expect(Number.isFinite(inB.values[at])).toBe(false);
        else same(inB.values[at], wanted);
      });
    }
    // unlike a masked weight, a zero of the caller's does not hide what it meets
    const zeros = { shape: [2, depth], data: new Float32Array(2 * depth) };
    const { values } = await run({ a: zeros, b: spoil(b, 5, Infinity) }, dtype);
    expect(values[5]).toBeNaN();
    expect(values[6]).toBe(0);
  });

  test('the same bits each time', async () => {
    const problem = { a: normals(40, 70), b: normals(70, 50), bias: normals(50) };
    const { values } = await run(problem, dtype);
    for (let i = 0; i < 3; i++) expect((await run(problem, dtype)).values).toEqual(values);
  });
});

describe('matmul', () => {
  test('of more workgroups than one dimension holds', async () => {
    await withWorkgroupLimit(device, 6, async () => {
      await expectProduct({ a: normals(70, 3), b: normals(3, 100) }, 'float32');
      await expectProduct({ a: normals(5, 2, 3), b: normals(5, 3, 2) }, 'float32');
      await expectProduct({ a: normals(2, 33, 3), b: normals(2, 3, 33) }, 'float32');
    });
  });

  test('compiles nothing new for another shape', async () => {
    await expectProduct({ a: normals(2, 3), b: normals(3, 5) }, 'float32');
    const { pipelines } = device.runtime.counters();
    await expectProduct({ a: normals(3, 1, 40, 50), b: normals(2, 50, 41), bias: normals(41) }, 'float32');
    await expectProduct({ a: normals(9, 5), b: normals(9, 7), transposeA: true, transposeB: false }, 'float32');
    expect(device.runtime.counters().pipelines).toBe(pipelines);
  });
});

/** Kernels for GPUs, which a CPU driver would not choose. */
const TILES = ['tile-32x32', 'tile-64x32', 'tile-64x64', 'tile-128x64', 'tile-128x128'];
describe.each(narrow(['tile-32x32'], TILES))('matmul, pinned to %s', (name) => {
  pinKernel('matmul', name);

  test.each([
    [1, 40, 5],
    [70, 33, 50],
    [131, 20, 140],
  ])('[%i, %i] · [%i]', async (rows, depth, columns) => {
    const [a, b, bias] = [normals(rows, depth), normals(depth, columns), normals(columns)];
    await expectProduct({ a, b, bias }, 'float32');
    await expectProduct({ a, b: normals(columns, depth), transposeB: true }, 'float32');
    await expectProduct({ a: normals(depth, rows), b, transposeA: true, bias }, 'float32');
    await expectProduct({ a: normals(2, 1, rows, depth), b: normals(3, depth, columns) }, 'float32');
  });

  test('in float16', async () => {
    const [a, b, bias] = [normals(3, 66, 36), normals(36, 44), normals(44)];
    await expectProduct({ a, b, bias }, 'float16');
    if (IS_MATRIX) {
      await expectProduct({ a: normals(36, 66), b: normals(44, 36), transposeA: true, transposeB: true }, 'float16');
    }
    const layouts = { a: { before: [0, 1], after: [0, 2] }, b: { axes: [1, 0] } };
    await expectProduct({ a: normals(66, 35), b: normals(35, 67), layouts }, 'float16');
  });

  test('a step of the depth is cut anywhere, whatever the order of the operands', async () => {
    for (const depth of narrow([4, 12, 25], [4, 8, 12, 16, 20, 24, 25])) {
      const [a, b] = [normals(36, depth), normals(depth, 40)];
      await expectProduct({ a, b }, 'float32');
      const transposed = { a: normals(depth, 36), b: normals(40, depth), transposeA: true, transposeB: true };
      await expectProduct(transposed, 'float32');
    }
  });

  test.each([NaN, Infinity])('an exact zero hides %f only where it is asked to', async (value) => {
    const [rows, depth, columns] = [37, 30, 40];
    const [hidden, seeing] = [21, 3];
    const weights = random
      .normals([rows, depth])
      .map((x, i) => (i % depth === hidden && i !== seeing * depth + hidden ? 0 : x));
    const clean = random.normals([depth, columns]);
    const spoilt = clean.map((x, i) => (Math.floor(i / columns) === hidden ? value : x));
    const run = async (b: Float32Array) => {
      const output = device.scope(() =>
        product(
          'test',
          upload(device, { shape: [rows, depth], data: weights }, 'float32'),
          upload(device, { shape: [depth, columns], data: b }, 'float32'),
          { zeroAnnihilates: true },
        ),
      );
      const values = await output.data();
      output.dispose();
      return values;
    };
    const [expected, values] = [await run(clean), await run(spoilt)];
    const isSeeing = (_: number, i: number) => Math.floor(i / columns) === seeing;
    expect(values.filter(isSeeing).some(Number.isFinite)).toBe(false);
    expect(values.map((x, i) => (isSeeing(x, i) ? 0 : x))).toEqual(expected.map((x, i) => (isSeeing(x, i) ? 0 : x)));
  });
});

describe.runIf(isBroad)('matmul on tensor cores, pinned to matrix-32x32', () => {
  useMatrices();
  pinKernel('matmul', 'matrix-32x32', 'float16');

  test.each(
    narrow(
      [[33, 40, 50]],
      [
        [1, 1, 1],
        [33, 40, 50],
        [70, 33, 64],
        [64, 96, 40],
      ],
    ),
  )('[%i, %i] · [%i wide], either side transposed', async (rows, depth, columns) => {
    const bias = normals(columns);
    // each pair is a kernel of its own
    const pairs = [
      [false, true],
      [true, false],
      [false, false],
      [true, true],
    ];
    for (const [transposeA, transposeB] of narrow(pairs.slice(0, 2), pairs)) {
      const a = transposeA ? normals(depth, rows) : normals(rows, depth);
      const b = transposeB ? normals(columns, depth) : normals(depth, columns);
      await expectProduct({ a, b, transposeA, transposeB, bias }, 'float16');
    }
  });

  test('batches, in any layout', async () => {
    const layouts = { a: { axes: [1, 2, 0] }, b: { before: [0, 1, 3], after: [1, 0, 2] } };
    await expectProduct({ a: normals(3, 35, 20), b: normals(3, 20, 33), layouts }, 'float16');
    await expectProduct({ a: normals(2, 1, 34, 24), b: normals(3, 24, 40), bias: normals(40) }, 'float16');
  });
});

describe.runIf(isBroad)(
  'matmul on tensor cores, pinned to matrix-32x32 for AMD, with b turned while it is staged',
  () => {
    useMatrices('amd');
    pinKernel('matmul', 'matrix-32x32', 'float16');

    const sizes = [
      [33, 40, 50], // columns that are no whole octets
      [1, 1, 1],
      [64, 43, 40],
      [70, 96, 72],
    ];
    test.each(narrow(sizes.slice(0, 1), sizes))('[%i, %i] · [%i wide]', async (rows, depth, columns) => {
      await expectProduct({ a: normals(rows, depth), b: normals(depth, columns), bias: normals(columns) }, 'float16');
    });
  },
);

describeInMatrix('matmul on tensor cores by larger tiles', () => {
  useMatrices();

  test.for(['matrix-64x64', 'matrix-128x64', 'matrix-128x128'])('%s', async (kernel, { skip }) => {
    const known = matmulVariants({ batchShape: [], rows: 150, columns: 140, aDType: 'float16' }, device.traits);
    skip(!known.some(({ name }) => name === kernel), 'it needs more workgroup memory');
    skip(!(await compilesFast()), 'this driver compiles its emulation for a minute');
    const { kernels } = device;
    device.kernels = { pinned: new Map([['matmul', kernel]]), tuned: new Map() };
    const { traits } = device;
    try {
      await expectProduct(
        { a: normals(150, 72), b: normals(140, 72), transposeB: true, bias: normals(140) },
        'float16',
      );
      device.traits = { ...traits, vendor: 'amd' }; // which turns b
      await expectProduct({ a: normals(150, 72), b: normals(72, 140) }, 'float16');
    } finally {
      device.traits = traits;
      device.kernels = kernels;
    }
  });
});
