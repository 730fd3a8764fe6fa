import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, softmax } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { numericalGradients } from '../reference/finite-differences.ts';
import type { HostArray } from '../reference/host-array.ts';
import { softmax as reference, softmaxGradient, type SoftmaxOptions } from '../reference/softmax.ts';
import { tolerances } from '../reference/tolerances.ts';
import { boolMask, floatMask, map } from './attention/attention-suite.ts';
import { changeTraits } from './traits.ts';
import { type Float, type Layout, stored, upload } from './upload.ts';
import { gradientsOf } from './walk-back.ts';

interface Problem extends SoftmaxOptions {
  x: HostArray;
  dOutput?: HostArray;
  layouts?: Partial<Record<'x' | 'mask' | 'dOutput', Layout>>;
}

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(46);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

async function run({ x, mask, dOutput, layouts = {}, ...options }: Problem, dtype: Float) {
  const isFloat = mask && !(mask.data instanceof Uint8Array);
  const leaves = {
    x: { array: x, dtype, layout: layouts.x },
    mask: isFloat ? { array: mask, dtype, layout: layouts.mask } : undefined,
  };
  return gradientsOf(device, leaves, (tensors) => {
    const bools = mask && !isFloat ? upload(device, mask, dtype, layouts.mask) : undefined;
    const result = softmax(tensors.x, { ...options, mask: tensors.mask ?? bools });
    return [[result, upload(device, dOutput!, dtype, layouts.dOutput)]];
  });
}

async function expectGradients(given: Problem, dtype: Float) {
  const problem = { dOutput: normals(...given.x.shape), ...given };
  const { x, mask, dOutput, layouts: _, ...options } = problem;
  const gradients = await run(problem, dtype);
  const wanted = softmaxGradient(stored(x, dtype), stored(dOutput, dtype), {
    ...options,
    mask: mask && stored(mask, dtype),
  });
  expect(Object.keys(gradients).sort()).toEqual(Object.keys(wanted).sort());
  for (const name of ['x', 'mask'] as const) {
    if (!wanted[name]) continue;
    expectClose(gradients[name]!, wanted[name].data, tolerances[dtype].softmaxGradient, `${name} of ${x.shape}`);
  }
  return gradients;
}

describe.each([
  ['float32', 'this device', {}],
  ['float16', 'this device', {}],
  ['float32', 'a GPU', { isSoftware: false }],
  ['float16', 'a GPU', { isSoftware: false }],
] as const)('the gradient of softmax in %s, planned for %s', (dtype, _name, traits) => {
  let restore: () => void;
  beforeAll(() => (restore = changeTraits(device, traits)));
  afterAll(() => restore());

  test.each([
    [[1]],
    [[7]],
    [[5, 1]],
    [[9, 17]],
    [[2, 3, 33]],
    [[2, 3, 5, 64]],
    [[3, 257]],
    [[2, 2, 1000]],
    [[2, 5000]],
  ])('shape %j', async (shape) => {
    await expectGradients({ x: normals(...shape) }, dtype);
    await expectGradients({ x: normals(...shape), scale: -2.5 }, dtype);
  });

  test.each([
    [
      [2, 3, 9, 13],
      [[1], [13], [9, 1], [3, 1, 13], [2, 1, 1, 13], [2, 3, 9, 13]],
    ],
    [
      [2, 9, 13],
      [
        [9, 13],
        [2, 1, 13],
        [2, 9, 13],
      ],
    ],
    [
      [9, 300],
      [[300], [9, 1], [9, 300]],
    ],
    [[13], [[1], [13]]],
  ])('shape %j with masks %j', async (shape, masks) => {
    for (const mask of masks) {
      await expectGradients({ x: normals(...shape), mask: boolMask(random, mask) }, dtype);
      await expectGradients({ x: normals(...shape), mask: floatMask(random, mask), scale: 0.5 }, dtype);
    }
  });

  test('causal rows of whole vectors', async () => {
    for (const isCausal of [true, 'bottom-right'] as const) {
      await expectGradients({ x: normals(2, 9, 512), isCausal }, dtype);
    }
  });

  test('causal', async () => {
    for (const isCausal of [true, 'bottom-right'] as const) {
      await expectGradients({ x: normals(2, 9, 20), isCausal }, dtype);
      await expectGradients({ x: normals(2, 2, 20, 9), isCausal, mask: floatMask(random, [9]) }, dtype);
    }
  });

  test('strided views', async () => {
    const [moved, inside] = [{ axes: [2, 1, 0] }, { before: [1, 0, 3], after: [0, 1, 2] }];
    for (const layouts of [
      { x: moved, dOutput: inside, mask: moved },
      { x: inside, dOutput: moved, mask: inside },
    ]) {
      for (const mask of [boolMask(random, [3, 8, 20]), floatMask(random, [3, 8, 20])]) {
        await expectGradients({ x: normals(3, 8, 20), mask, layouts }, dtype);
      }
    }
  });

  test.each([NaN, Infinity, -Infinity])('where masked, %f never leaks', async (value) => {
    for (const columns of [13, 300]) {
      const poison = (array: HostArray) => map(array, (other, at) => (at % columns === 5 ? value : other));
      const [x, dOutput] = [poison(normals(4, columns)), poison(normals(4, columns))];
      const seen = Float32Array.from({ length: columns }, (_, at) => (at === 5 ? 0 : 1));
      for (const data of [Uint8Array.from(seen), seen.map((one) => (one ? 0 : -Infinity))]) {
        const gradients = await expectGradients({ x, dOutput, mask: { shape: [columns], data } }, dtype);
        for (let row = 0; row < 4; row++) expect(gradients.x![row * columns + 5]).toBe(0);
      }
    }
  });

  test('a row in which everything is masked has the gradient 0; NaN spoils only its own row', async () => {
    const [x, dOutput] = [normals(4, 13), normals(4, 13)];
    const mask = { shape: [4, 1], data: Uint8Array.of(1, 1, 0, 1) };
    const clean = await expectGradients({ x, dOutput, mask }, dtype);
    expect(clean.x!.subarray(26, 39).every((value) => value === 0)).toBe(true);
    for (const at of [13, 30]) {
      const spoilt = await run({ x: map(x, (other, i) => (i === at ? NaN : other)), dOutput, mask }, dtype);
      spoilt.x!.forEach((got, i) => expect(got).toBe(at === 13 && i >= 13 && i < 26 ? NaN : clean.x![i]));
    }
  });
});

test('the reference of the gradient of softmax is that of its formula', () => {
  const [x, mask, dOutput] = [normals(2, 3, 5), normals(3, 1), normals(2, 3, 5)];
  const wanted = numericalGradients(
    (...[a, b]) => reference(a, { mask: b, scale: 0.7, isCausal: true }),
    [x, mask],
    dOutput,
  );
  const got = softmaxGradient(x, dOutput, { mask, scale: 0.7, isCausal: true });
  expectClose(got.x.data, wanted[0].data, { atol: 1e-9, rtol: 1e-9 }, 'x');
  expectClose(got.mask!.data, wanted[1].data, { atol: 1e-9, rtol: 1e-9 }, 'mask');
});
