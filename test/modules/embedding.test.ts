import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Device, Embedding } from '../../src/index.ts';
import { testDevice } from '../device.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

test.each(['float32', 'float16'] as const)('%s: rows of a loaded table', async (dtype) => {
  using module = new Embedding(device, { numEmbeddings: 3, embeddingDim: 2, dtype });
  expect(Object.keys(module.stateDict())).toEqual(['weight']);
  device.scope(() => module.loadStateDict({ weight: device.tensor([0, 1, 2, 3, 4, 5], [3, 2]) }));
  using ids = device.tensor(Uint32Array.of(2, 0, 3, 1), [2, 2]);
  using output = module.forward(ids);
  expect(output.shape).toEqual([2, 2, 2]);
  expect(output.dtype).toBe(dtype);
  expect([...(await output.data())]).toEqual([4, 5, 0, 1, NaN, NaN, 2, 3]);
});

test('the initial table is standard normal, and of the seed', async () => {
  using module = new Embedding(device, { numEmbeddings: 100, embeddingDim: 100, seed: 4 });
  using same = new Embedding(device, { numEmbeddings: 100, embeddingDim: 100, seed: 4 });
  const values = (await module.stateDict()['weight'].data()) as Float32Array;
  expect(await same.stateDict()['weight'].data()).toEqual(values);
  const moment = (power: number) => values.reduce((sum, value) => sum + value ** power, 0) / values.length;
  expect(Math.abs(moment(1))).toBeLessThan(0.05);
  expect(Math.abs(moment(2) - 1)).toBeLessThan(0.06);
});

test('bad options', () => {
  const make = (options: object) => () =>
    new Embedding(device, { numEmbeddings: 2, embeddingDim: 3, ...options }) as unknown as void;
  expect(make({ numEmbeddings: -1 })).toThrow('Embedding: numEmbeddings must be a positive integer, got -1');
  expect(make({ embeddingDim: '3' })).toThrow(`Embedding: embeddingDim must be a positive integer, got '3'`);
});
