import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, layerNorm, rmsNorm } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { IS_MATRIX } from '../matrix/narrow.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { numericalGradients } from '../reference/finite-differences.ts';
import type { HostArray } from '../reference/host-array.ts';
import { layerNorm as layerReference, rmsNorm as rmsReference } from '../reference/normalise.ts';
import { tolerances } from '../reference/tolerances.ts';
import { map } from './attention/attention-suite.ts';
import { gradientsOf } from './walk-back.ts';
import { changeTraits } from './traits.ts';
import { type Float, type Layout, stored, upload } from './upload.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(44);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

type Op = 'layerNorm' | 'rmsNorm';

interface Problem {
  x: HostArray;
  /** How many of the last axes. */
  axes?: number;
  weight?: HostArray;
  bias?: HostArray;
  eps?: number;
  dOutput?: HostArray;
  layouts?: Partial<Record<'x' | 'weight' | 'bias' | 'dOutput', Layout>>;
}

async function run(op: Op, dtype: Float, problem: Problem) {
  const { x, axes = 1, weight, bias, eps, dOutput = normals(...x.shape), layouts = {} } = problem;
  const normalizedShape = x.shape.slice(-axes);
  const leaf = (name: 'x' | 'weight' | 'bias', array: HostArray | undefined) =>
    array && { array, dtype, layout: layouts[name] };
  const leaves = {
    x: leaf('x', x),
    weight: leaf('weight', weight),
    bias: leaf('bias', op === 'layerNorm' ? bias : undefined),
  };
  const gradients = await gradientsOf(device, leaves, (tensors) => [
    [
      op === 'layerNorm'
        ? layerNorm(tensors.x, normalizedShape, { weight: tensors.weight, bias: tensors.bias, eps })
        : rmsNorm(tensors.x, normalizedShape, { weight: tensors.weight, eps }),
      upload(device, dOutput, dtype, layouts.dOutput),
    ],
  ]);
  return { gradients, dOutput };
}

async function expectGradients(op: Op, dtype: Float, problem: Problem): Promise<void> {
  const { x, axes = 1, eps } = problem;
  const { gradients, dOutput } = await run(op, dtype, problem);
  const reference = op === 'layerNorm' ? layerReference : rmsReference;
  const names = ['x', 'weight', 'bias'] as const;
  const given = names.filter((name) => gradients[name]);
  const arrays = given.map((name) => stored(problem[name]!, dtype));
  const expected = numericalGradients(
    (...inputs) => {
      const named = Object.fromEntries(given.map((name, i) => [name, inputs[i]]));
      return reference(named['x'], x.shape.slice(-axes), { ...named, eps });
    },
    arrays,
    stored(dOutput, dtype),
  );
  expect(given).toEqual(names.filter((name) => problem[name] && (name !== 'bias' || op === 'layerNorm')));
  given.forEach((name, i) => {
    expectClose(
      gradients[name]!,
      expected[i].data,
      tolerances[dtype].normalisedGradient,
      `${op} of ${x.shape}: ${name}`,
    );
  });
}

describe.each([
  ['layerNorm', 'float32', 'this device', {}],
  ['rmsNorm', 'float32', 'this device', {}],
  ['layerNorm', 'float16', 'this device', {}],
  ['rmsNorm', 'float16', 'this device', {}],
  ['layerNorm', 'float32', 'a GPU', { isSoftware: false }],
  ['rmsNorm', 'float16', 'a GPU', { isSoftware: false }],
] as const)('the gradient of %s in %s, planned for %s', (op, dtype, _name, traits) => {
  let restore: () => void;
  beforeAll(() => (restore = changeTraits(device, traits)));
  afterAll(() => restore());

  test.each([
    [[1]],
    [[7]],
    [[5, 1]],
    [[9, 17]],
    [[2, 3, 33]],
    [[2, 3, 5, 16]],
    [[300]],
    [[2, 257]],
    [[90, 5]],
    [[2, 512]],
  ])('shape %j', async (shape) => {
    const last = shape.at(-1)!;
    const eps = last < 8 ? 0.1 : undefined;
    await expectGradients(op, dtype, { x: normals(...shape), eps });
    await expectGradients(op, dtype, { x: normals(...shape), weight: normals(last), bias: normals(last), eps });
  });

  test.each([
    [[3, 4, 7], 2],
    [[3, 4, 7], 3],
    [[2, 3, 5, 1], 2],
    [[2, 3, 4, 6], 3],
  ])('shape %j, the last %i axes together', async (shape, axes) => {
    const inner = shape.slice(-axes);
    await expectGradients(op, dtype, {
      x: normals(...shape),
      axes,
      weight: normals(...inner),
      bias: normals(...inner),
    });
  });

  // the reference takes seconds
  test.runIf(IS_MATRIX && 'isSoftware' in traits)('rows longer than registers hold', async () => {
    await expectGradients(op, dtype, { x: normals(2, 4400), weight: normals(4400) });
  });

  test('strided views', async () => {
    const [weight, bias] = [normals(8), normals(8)];
    const moved = { axes: [1, 0, 2] };
    const inside = { before: [0, 1, 3], after: [1, 0, 2] };
    for (const layouts of [
      { x: moved, dOutput: inside },
      { x: inside, dOutput: moved, weight: { before: [3] } },
    ]) {
      await expectGradients(op, dtype, { x: normals(3, 5, 8), weight, bias, layouts });
    }
  });
});

describe('the gradient of a normalisation', () => {
  test('takes an expanded gradient', async () => {
    const x = normals(4, 9);
    const { gradients: wanted } = await run('layerNorm', 'float32', { x, dOutput: map(x, () => 0.5) });
    const { x: got } = await gradientsOf(device, { x: { array: x, dtype: 'float32' } }, (tensors) => [
      [layerNorm(tensors.x, 9), device.tensor([0.5], [1]).expand([4, 9])],
    ]);
    expect(got).toEqual(wanted.x);
  });

  test('of the bias alone, or of the weight alone', async () => {
    const [x, array, dOutput] = [normals(70, 6), normals(6), normals(70, 6)];
    const { gradients } = await run('layerNorm', 'float32', { x, weight: array, bias: array, dOutput });
    for (const name of ['weight', 'bias'] as const) {
      const alone = await gradientsOf(device, { [name]: { array, dtype: 'float32' } }, (tensors) => [
        [
          layerNorm(upload(device, x, 'float32'), 6, {
            weight: upload(device, array, 'float32'),
            bias: upload(device, array, 'float32'),
            ...tensors,
          }),
          upload(device, dOutput, 'float32'),
        ],
      ]);
      expect(alone[name]).toEqual(gradients[name]);
    }
  });

  test('is the same bits each time, over many rows', async () => {
    const problem = { x: normals(1500, 36), weight: normals(36), bias: normals(36), dOutput: normals(1500, 36) };
    const { gradients: first } = await run('layerNorm', 'float32', problem);
    // that of the bias is a sum
    const sums = Float64Array.from({ length: 36 }, (_, column) =>
      Array.from({ length: 1500 }, (__, row) => problem.dOutput.data[row * 36 + column]).reduce((a, b) => a + b, 0),
    );
    expectClose(first.bias!, sums, { atol: 1e-4, rtol: 1e-5 }, 'd_bias');
    for (let i = 0; i < 2; i++) expect((await run('layerNorm', 'float32', problem)).gradients).toEqual(first);
  });

  test('of more workgroups than one dimension holds', async () => {
    await withWorkgroupLimit(device, 3, async () => {
      await expectGradients('layerNorm', 'float32', { x: normals(137, 3), weight: normals(3), eps: 0.1 });
    });
  });

  test('of a row of equal numbers is finite, and NaN spoils its own row of it', async () => {
    const x = map(normals(3, 20), (value, at) => (at < 20 ? 2.5 : value));
    const dOutput = normals(3, 20);
    const clean = (await run('layerNorm', 'float32', { x, dOutput })).gradients.x!;
    expect(clean.every(Number.isFinite)).toBe(true);
    const spoilt = await run('layerNorm', 'float32', { x: map(x, (value, at) => (at === 25 ? NaN : value)), dOutput });
    spoilt.gradients.x!.forEach((value, at) => expect(value).toBe(Math.floor(at / 20) === 1 ? NaN : clean[at]));
  });
});
