/** Random matrix products and softmaxes, forward and backward. */
import fc from 'fast-check';
import { ArgumentError, type Device, matmul, softmax } from '../../src/index.ts';
import { anyLayout, ofRank } from '../ops/any-layout.ts';
import { largest } from '../ops/attention/attention-run.ts';
import { boolMask, floatMask, map } from '../ops/attention/attention-suite.ts';
import { changeTraits } from '../ops/traits.ts';
import { kernelsOf } from '../ops/attention/pinned.ts';
import { type Float, stored, upload } from '../ops/upload.ts';
import { gradientsOf } from '../ops/walk-back.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { type HostArray, sumTo } from '../reference/host-array.ts';
import { matmul as referenceProduct, type MatmulOptions } from '../reference/matmul.ts';
import { softmax as referenceSoftmax, softmaxGradient } from '../reference/softmax.ts';
import { matmulTolerance, tolerances, widen } from '../reference/tolerances.ts';
import { type Direction, OWN_CHOICE, some, type Subject, subject, tenths, type Verdict } from './subject.ts';

const DIRECTIONS = ['forward', 'backward'] as const;

// ---- products

/** How the batch axes of the two operands broadcast. */
const BATCHES = [
  [[], []],
  [[3], [3]],
  [[3], []],
  [[], [2]],
  [
    [2, 1],
    [1, 3],
  ],
  [[2, 1], [2]],
] as const;

function anyProduct(direction: Direction, kernel: string, seed: number) {
  const length = fc.oneof(fc.constantFrom(1, 31, 32, 33, 63, 64, 65, 127, 128, 129), fc.integer({ min: 1, max: 90 }));
  const isHalf = kernel.startsWith('matrix') || new Random(seed).uniform() < 0.3;
  return fc.record({
    seed: fc.nat(1e6),
    direction: fc.constant(direction),
    dtype: fc.constant<Float>(isHalf ? 'float16' : 'float32'),
    rows: length,
    depth: fc.oneof(fc.constantFrom(1, 7, 8, 9, 15, 16, 17, 64), fc.integer({ min: 1, max: 300 })),
    columns: length,
    batches: fc.constantFrom(...BATCHES),
    transposeA: fc.boolean(),
    transposeB: fc.boolean(),
    hasBias: fc.boolean(),
    /** Of the other's depth: an axis that does not fit. */
    isWrong: fc.constantFrom(false, false, false, false, false, false, false, false, false, true),
    layouts: fc.record({ a: anyLayout, b: anyLayout }),
  });
}

type Product = ReturnType<typeof anyProduct> extends fc.Arbitrary<infer T> ? T : never;

async function checkProduct(device: Device, c: Product): Promise<Verdict> {
  const random = new Random(c.seed);
  const { dtype, rows, depth, columns, transposeA, transposeB } = c;
  const normals = (shape: readonly number[]): HostArray => stored({ shape, data: random.normals(shape) }, dtype);
  const depthOfB = c.isWrong ? depth + 1 : depth;
  const a = normals([...c.batches[0], ...(transposeA ? [depth, rows] : [rows, depth])]);
  const b = normals([...c.batches[1], ...(transposeB ? [columns, depthOfB] : [depthOfB, columns])]);
  const bias = c.hasBias ? normals([columns]) : undefined;
  const arrays = { a, b, bias };
  const layouts = { a: ofRank(c.layouts.a, a.shape.length), b: ofRank(c.layouts.b, b.shape.length) };
  const options = { transposeA, transposeB };
  try {
    if (c.direction === 'forward' || c.isWrong) {
      const product = device.scope(() =>
        matmul(upload(device, a, dtype, layouts.a), upload(device, b, dtype, layouts.b), {
          ...options,
          bias: bias && upload(device, bias, dtype),
        }),
      );
      const values = await product.data();
      product.dispose();
      if (c.isWrong) throw new Error('operands of different depths were not refused');
      const expected = referenceProduct(a, b, { ...options, bias });
      expectClose(values, expected.data, matmulTolerance(depth, dtype), 'product');
      return 'right';
    }
  } catch (error) {
    if (error instanceof ArgumentError && c.isWrong) return 'refused';
    throw error;
  }
  const dOutput = normals(referenceProduct(a, b, options).shape);
  const leaves = {
    a: { array: a, dtype, layout: layouts.a },
    b: { array: b, dtype, layout: layouts.b },
    bias: bias && { array: bias, dtype },
  };
  const got = await gradientsOf(device, leaves, (tensors) => [
    [matmul(tensors.a, tensors.b, { ...options, bias: tensors.bias }), upload(device, dOutput, dtype)],
  ]);
  const wanted = productGradients(a, b, dOutput, options, bias);
  const batches = dOutput.data.length / (rows * columns);
  for (const name of ['a', 'b', 'bias'] as const) {
    if (!arrays[name]) continue;
    const expected = wanted[name]!;
    const { atol, rtol } = matmulTolerance(Math.max(rows, columns) * batches, dtype);
    // in float16 each term of a sum that undoes broadcasting is rounded
    const rounding = dtype === 'float16' ? 2 ** -10 * largest(expected.data) : 0;
    expectClose(got[name]!, expected.data, { atol: atol + rounding, rtol }, `gradient of ${name}`);
  }
  return 'right';
}

function productGradients(
  a: HostArray,
  b: HostArray,
  dOutput: HostArray,
  { transposeA = false, transposeB = false }: MatmulOptions,
  bias: HostArray | undefined,
): { a: HostArray; b: HostArray; bias?: HostArray } {
  const ofA = transposeA
    ? referenceProduct(b, dOutput, { transposeA: transposeB, transposeB: true })
    : referenceProduct(dOutput, b, { transposeB: !transposeB });
  const ofB = transposeB
    ? referenceProduct(dOutput, a, { transposeA: true, transposeB: transposeA })
    : referenceProduct(a, dOutput, { transposeA: !transposeA });
  return { a: sumTo(ofA, a.shape), b: sumTo(ofB, b.shape), ...(bias && { bias: sumTo(dOutput, bias.shape) }) };
}

// ---- softmax

/** The name of softmax's plan for a GPU, which no CPU driver takes by itself. */
const AS_ON_A_GPU = 'gpu';

function anySoftmax(direction: Direction, kernel: string, seed: number) {
  const random = new Random(seed);
  return fc.record({
    seed: fc.nat(1e6),
    direction: fc.constant(direction),
    isForGpu: fc.constant(kernel === AS_ON_A_GPU),
    dtype: fc.constant<Float>(random.uniform() < 0.3 ? 'float16' : 'float32'),
    shape: fc.tuple(
      fc.integer({ min: 1, max: 2 }),
      fc.integer({ min: 1, max: 3 }),
      fc.oneof(fc.constantFrom(1, 2, 33), fc.integer({ min: 1, max: 40 })),
      fc.oneof(fc.constantFrom(1, 4, 8, 255, 256, 257, 1000), fc.integer({ min: 1, max: 90 })),
    ),
    rank: fc.integer({ min: 1, max: 4 }),
    mask: some(
      fc.record({
        isBool: fc.boolean(),
        repeats: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
        dropped: fc.integer({ min: 0, max: 3 }),
        layout: anyLayout,
      }),
    ),
    scale: some(tenths(-2, 2)),
    isCausal: fc.constantFrom(false, true, 'bottom-right' as const),
    /** x is up to 1e4, or one row of it not finite. */
    extreme: fc.constantFrom('none' as const, 'none' as const, 'far' as const, 'hidden' as const),
    layout: anyLayout,
  });
}

type Softmax = ReturnType<typeof anySoftmax> extends fc.Arbitrary<infer T> ? T : never;

async function checkSoftmax(device: Device, c: Softmax): Promise<Verdict> {
  const random = new Random(c.seed);
  const { dtype, scale, isCausal } = c;
  const shape = c.shape.slice(4 - c.rank);
  const dropped = Math.max(0, c.rank - 4 + (c.mask?.dropped ?? 0));
  const maskShape =
    c.mask && shape.map((size, axis) => (c.mask!.repeats[axis] ? 1 : size)).slice(Math.min(dropped, c.rank - 1));
  const mask = maskShape && stored((c.mask!.isBool ? boolMask : floatMask)(random, maskShape), dtype);
  const normal = { shape, data: random.normals(shape) };
  let x = stored(c.extreme === 'far' ? map(normal, (value) => 2500 * value) : normal, dtype);
  const options = { scale, isCausal, mask };
  const isRefused = c.rank === 1 && isCausal !== false;
  const expected = isRefused ? undefined : referenceSoftmax(x, options).data;
  // where the weight is 0 for that reason alone, x may be anything
  if (c.extreme === 'hidden' && expected) {
    const hidden = referenceSoftmax({ shape, data: new Float32Array(x.data.length) }, options).data;
    x = map(x, (value, at) => (hidden[at] === 0 ? NaN : value));
  }
  const layouts = { x: ofRank(c.layout, c.rank), mask: c.mask && mask && ofRank(c.mask.layout, mask.shape.length) };
  const maxScore = 1 + Math.abs(scale ?? 1) * largest(x.data);
  const restore = c.isForGpu ? changeTraits(device, { isSoftware: false }) : () => {};
  try {
    if (c.direction === 'forward' || isRefused) {
      const result = device.scope(() =>
        softmax(upload(device, x, dtype, layouts.x), {
          scale,
          isCausal,
          mask: mask && upload(device, mask, dtype, layouts.mask),
        }),
      );
      const values = await result.data();
      result.dispose();
      expectClose(values, expected!, widen(tolerances[dtype].softmax, { maxScore }), 'softmax');
      return 'right';
    }
    const dOutput = stored({ shape, data: random.normals(shape) }, dtype);
    const isFloat = mask && !(mask.data instanceof Uint8Array);
    const leaves = {
      x: { array: x, dtype, layout: layouts.x },
      mask: isFloat ? { array: mask, dtype, layout: layouts.mask } : undefined,
    };
    const got = await gradientsOf(device, leaves, (tensors) => {
      const bools = mask && !isFloat ? upload(device, mask, dtype, layouts.mask) : undefined;
      const result = softmax(tensors.x, { scale, isCausal, mask: tensors.mask ?? bools });
      return [[result, upload(device, dOutput, dtype)]];
    });
    const wanted = softmaxGradient(x, dOutput, options);
    for (const name of ['x', 'mask'] as const) {
      const { [name]: gradient } = wanted;
      if (!gradient) continue;
      const rounding = dtype === 'float16' ? 2 ** -11 * largest(gradient.data) : 0;
      const { atol, rtol } = widen(tolerances[dtype].softmaxGradient, { maxScore });
      expectClose(got[name]!, gradient.data, { atol: 4 * atol + rounding, rtol }, `gradient of ${name}`);
    }
    return 'right';
  } catch (error) {
    if (error instanceof ArgumentError) return 'refused';
    throw error;
  } finally {
    restore();
  }
}

// ---- what is fuzzed

export const productSubjects: readonly Subject[] = DIRECTIONS.flatMap((direction) => [
  subject<Product>({
    op: 'matmul',
    direction,
    pins: 'matmul',
    kernels: (device) => [OWN_CHOICE, ...kernelsOf('matmul', device)],
    cases: (kernel, version) => anyProduct(direction, kernel, version),
    check: checkProduct,
  }),
  subject<Softmax>({
    op: 'softmax',
    direction,
    kernels: () => [OWN_CHOICE, AS_ON_A_GPU],
    cases: (kernel, version) => anySoftmax(direction, kernel, version),
    check: checkSoftmax,
  }),
]);
