import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Device, LayerNorm } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { layerNorm as reference } from '../reference/normalise.ts';
import { tolerances } from '../reference/tolerances.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(67);

test.each(['float32', 'float16'] as const)('%s: a loaded state dict over two axes', async (dtype) => {
  using module = new LayerNorm(device, { normalizedShape: [3, 5], eps: 0.01, dtype });
  expect(Object.keys(module.stateDict())).toEqual(['weight', 'bias']);
  device.scope(() => {
    const [weight, bias] = [0, 1].map(() => device.tensor(random.normals([3, 5]), [3, 5]));
    module.loadStateDict({ weight, bias });
  });
  using x = device.randn([2, 3, 5], { seed: 1, dtype });
  using output = module.forward(x);
  const state = module.stateDict();
  const shape = [3, 5];
  const wanted = reference({ shape: [2, 3, 5], data: await x.data() }, shape, {
    weight: { shape, data: await state['weight'].data() },
    bias: { shape, data: await state['bias'].data() },
    eps: 0.01,
  });
  expectClose(await output.data(), wanted.data, tolerances[dtype].normalised, 'LayerNorm');
});

test('at first ones and zeros; without a bias, or either', async () => {
  using x = device.randn([4, 6], { seed: 2 });
  const wanted = reference({ shape: [4, 6], data: await x.data() }, [6]);
  for (const [options, names] of [
    [{}, ['weight', 'bias']],
    [{ bias: false }, ['weight']],
    [{ elementwiseAffine: false }, []],
  ] as const) {
    using module = new LayerNorm(device, { normalizedShape: 6, ...options });
    expect(Object.keys(module.stateDict())).toEqual(names);
    using output = module.forward(x);
    expectClose(await output.data(), wanted.data, tolerances.float32.normalised, 'LayerNorm');
  }
});

test('bad options', () => {
  const make = (options: object) => () => new LayerNorm(device, { normalizedShape: 2, ...options }) as unknown as void;
  expect(make({ normalizedShape: [] })).toThrow('LayerNorm: normalizedShape must be positive integers, got []');
  expect(make({ normalizedShape: [3, 0] })).toThrow('LayerNorm: normalizedShape must be positive integers, got [3, 0]');
  expect(make({ eps: NaN })).toThrow('LayerNorm: eps must be a finite number, got NaN');
});
