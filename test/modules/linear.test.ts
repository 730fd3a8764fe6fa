import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Device, Linear, LoadError } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { matmul as reference } from '../reference/matmul.ts';
import { matmulTolerance } from '../reference/tolerances.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(61);

test.each(['float32', 'float16'] as const)('%s: a loaded state dict, with and without a bias', async (dtype) => {
  for (const bias of [true, false]) {
    using module = new Linear(device, { inFeatures: 5, outFeatures: 7, bias, dtype });
    expect(Object.keys(module.stateDict())).toEqual(bias ? ['weight', 'bias'] : ['weight']);
    device.scope(() => {
      const weight = device.tensor(random.normals([7, 5]), [7, 5]);
      module.loadStateDict(bias ? { weight, bias: device.tensor(random.normals([7]), [7]) } : { weight });
    });
    using x = device.randn([2, 3, 5], { seed: 1, dtype });
    using output = module.forward(x);
    expect(output.shape).toEqual([2, 3, 7]);
    expect(output.dtype).toBe(dtype);
    const state = module.stateDict();
    const wanted = reference(
      { shape: [6, 5], data: await x.data() },
      { shape: [7, 5], data: await state['weight'].data() },
      { transposeB: true, bias: bias ? { shape: [7], data: await state['bias'].data() } : undefined },
    );
    expectClose(await output.data(), wanted.data, matmulTolerance(5, dtype), 'Linear');
  }
});

test('initial weights and biases are uniform within ±1/√in, and of the seed', async () => {
  using module = new Linear(device, { inFeatures: 100, outFeatures: 400, seed: 3 });
  using same = new Linear(device, { inFeatures: 100, outFeatures: 400, seed: 3 });
  using other = new Linear(device, { inFeatures: 100, outFeatures: 400 });
  for (const name of ['weight', 'bias']) {
    const values = (await module.stateDict()[name].data()) as Float32Array;
    expect(await same.stateDict()[name].data()).toEqual(values);
    expect(await other.stateDict()[name].data()).not.toEqual(values);
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(0.1);
    const square = values.reduce((sum, value) => sum + value * value, 0) / values.length;
    expect(square).toBeGreaterThan(0.85 * (0.01 / 3));
    expect(square).toBeLessThan(1.15 * (0.01 / 3));
  }
});

test('outlives the scope that it was made in, and owns what it loaded', async () => {
  const module = device.scope(() => {
    const made = new Linear(device, { inFeatures: 2, outFeatures: 2, bias: false });
    made.loadStateDict({ weight: device.tensor([1, 2, 3, 4], [2, 2]) });
    return { made };
  }).made;
  using x = device.tensor([1, 10], [2]);
  using output = module.forward(x);
  expect([...(await output.data())]).toEqual([21, 43]);
  module.dispose();
  module.dispose();
  expect(() => module.forward(x)).toThrow('linear: weight must not be disposed');
});

test('bad options and state dicts', () => {
  const make = (options: object) => () =>
    new Linear(device, { inFeatures: 2, outFeatures: 3, ...options }) as unknown as void;
  expect(make({ inFeatures: 0 })).toThrow('Linear: inFeatures must be a positive integer, got 0');
  expect(make({ outFeatures: 1.5 })).toThrow('Linear: outFeatures must be a positive integer, got 1.5');
  expect(make({ bias: 1 })).toThrow('Linear: bias must be true or false, got 1');
  expect(make({ dtype: 'int32' })).toThrow(`Linear: dtype must be float32 or float16, got 'int32'`);
  expect(make({ seed: 0.5 })).toThrow('Linear: seed must be an integer, got 0.5');
  expect(make({ inFeature: 1 })).toThrow(`Linear: unknown option 'inFeature'; did you mean 'inFeatures'?`);
  using module = new Linear(device, { inFeatures: 2, outFeatures: 3 });
  expect(() => device.scope(() => module.loadStateDict({ weight: device.zeros([2, 3]) }))).toThrow(LoadError);
  expect(() => device.scope(() => void module.forward(device.zeros([4, 3])))).toThrow(
    `linear: weight must be [out, 3] to match x's rows, got [3, 2]`,
  );
});
