import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Device, RMSNorm } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { rmsNorm as reference } from '../reference/normalise.ts';
import { tolerances } from '../reference/tolerances.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

test.each(['float32', 'float16'] as const)('%s: a loaded state dict', async (dtype) => {
  using module = new RMSNorm(device, { normalizedShape: 7, eps: 0.01, dtype });
  expect(Object.keys(module.stateDict())).toEqual(['weight']);
  using x = device.randn([2, 3, 7], { seed: 1, dtype });
  const host = { shape: [2, 3, 7], data: await x.data() };
  using first = module.forward(x);
  expectClose(await first.data(), reference(host, [7], { eps: 0.01 }).data, tolerances[dtype].normalised, 'ones');
  device.scope(() => module.loadStateDict({ weight: device.tensor(new Random(71).normals([7]), [7]) }));
  using output = module.forward(x);
  const weight = { shape: [7], data: await module.stateDict()['weight'].data() };
  const wanted = reference(host, [7], { weight, eps: 0.01 });
  expectClose(await output.data(), wanted.data, tolerances[dtype].normalised, 'RMSNorm');
});

test('without a weight, and bad options', async () => {
  using module = new RMSNorm(device, { normalizedShape: [2, 3], elementwiseAffine: false });
  expect(module.parameters()).toEqual([]);
  using x = device.randn([4, 2, 3], { seed: 2 });
  using output = module.forward(x);
  const wanted = reference({ shape: [4, 2, 3], data: await x.data() }, [2, 3]);
  expectClose(await output.data(), wanted.data, tolerances.float32.normalised, 'RMSNorm');
  expect(() => new RMSNorm(device, { normalizedShape: 0 })).toThrow(
    'RMSNorm: normalizedShape must be positive integers, got 0',
  );
  expect(() => device.scope(() => void module.forward(device.zeros([6])))).toThrow(
    'rmsNorm: normalizedShape must be the last axes of x [6], got [2, 3]',
  );
});
