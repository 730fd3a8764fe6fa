import { inspect } from 'node:util';
import { beforeAll, expect, test } from 'vitest';
import { KeyValueCache, PagedKeyValueCache, type Device } from '../../src/index.ts';
import { testDevice } from '../device.ts';

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const ROWS = { numKvHeads: 2, headDim: 4 };

test('a cache prints how much it holds', () => {
  const cache = new KeyValueCache(device, { ...ROWS, batch: 1, capacity: 8 });
  const key = device.zeros([1, 2, 3, 4]);
  cache.append(key, key);
  const text = "KeyValueCache(length=3, capacity=8, batch=1, numKvHeads=2, headDim=4, dtype='float32')";
  expect(String(cache)).toBe(text);
  expect(inspect(cache)).toBe(text);
  cache.dispose();
  expect(String(cache)).toBe(text.replace(')', ', disposed)'));
  expect(String(Object.create(KeyValueCache.prototype))).toBe('KeyValueCache');
});

test('a sliding cache prints its position too, and a growing one that it grows', () => {
  const sliding = new KeyValueCache(device, {
    ...ROWS,
    valueDim: 8,
    dtype: 'float16',
    batch: 1,
    capacity: 2,
    eviction: 'sliding',
    sinks: 1,
  });
  const [key, value] = [device.zeros([1, 2, 3, 4]), device.zeros([1, 2, 3, 8])];
  sliding.append(key, value);
  expect(String(sliding)).toBe(
    "KeyValueCache(length=2, capacity=2, batch=1, numKvHeads=2, headDim=4, valueDim=8, dtype='float16', " +
      "position=3, eviction='sliding', sinks=1)",
  );
  const growing = new KeyValueCache(device, { ...ROWS, batch: 1, capacity: 2, growth: 'double' });
  expect(String(growing)).toContain(", growth='double')");
  sliding.dispose();
  growing.dispose();
});

test('a paged cache prints the lengths of its sequences', () => {
  const cache = new PagedKeyValueCache(device, { ...ROWS, numPages: 4, pageSize: 2 });
  const ids = [cache.add(), cache.add()];
  const key = device.zeros([2, 2, 3, 4]);
  cache.append(ids, key, key, { lengths: [3, 1] });
  const text =
    "PagedKeyValueCache(sequences=2, lengths=[3, 1], freePages=1, numPages=4, pageSize=2, numKvHeads=2, headDim=4, dtype='float32')";
  expect(inspect(cache)).toBe(text);
  for (let i = 0; i < 7; i++) cache.add();
  expect(String(cache)).toContain('sequences=9, lengths=[3, 1, 0, 0, 0, 0, 0, 0, ...], freePages=1');
  cache.dispose();
  expect(String(cache)).toMatch(/, disposed\)$/);
  expect(String(Object.create(PagedKeyValueCache.prototype))).toBe('PagedKeyValueCache');
});
