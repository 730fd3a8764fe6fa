import { describe, expect, test } from 'vitest';
import type { DeviceInfo } from '../../src/index.ts';
import { deviceLine, formatBytes, formatError, formatShape, formatTime, table } from '../../src/display/text.ts';

test.each([
  [0, '0'],
  [4.76837e-7, '4.8e-7'],
  [2e-5, '2.0e-5'],
  [12, '1.2e+1'],
  [NaN, 'NaN'],
])('an error of %d is %s', (error, text) => expect(formatError(error)).toBe(text));

test.each([
  [undefined, '–'],
  [0.0123456, '0.0123 ms'],
  [31, '31.0 ms'],
  [1673.4, '1673 ms'],
])('a time of %d is %s', (time, text) => expect(formatTime(time)).toBe(text));

test.each([
  [0, '0 bytes'],
  [1023, '1023 bytes'],
  [16384, '16 KiB'],
  [14852, '14.5 KiB'],
  [4 * 2 ** 30, '4 GiB'],
  [5 * 2 ** 50, '5120 TiB'],
])('%d bytes are %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

test('shapes have no spaces', () => expect(formatShape([2, 3, 128])).toBe('[2,3,128]'));

test('a table has its titles, and all lines of its cells', () => {
  const drawn = table(['name', 'shapes'], [['a', 'q [1]\nk [2]']]);
  for (const text of ['name', 'shapes', ' a ', 'q [1]', 'k [2]']) expect(drawn).toContain(text);
});

describe('the device in one line', () => {
  const info: DeviceInfo = {
    vendor: 'mesa',
    architecture: 'software',
    device: 'llvmpipe',
    description: 'llvmpipe 25',
    driver: 'lavapipe',
    reason: 'no hardware GPU was found',
    isSoftware: true,
    features: [],
    limits: {},
    subgroupMinSize: 8,
    subgroupMaxSize: 8,
  };

  test.each([
    [
      'all of it',
      {},
      'llvmpipe 25 (mesa software); driver: lavapipe, on the CPU; taken because no hardware GPU was found',
    ],
    [
      'a GPU, with its name and its driver',
      {
        device: 'NVIDIA H100',
        description: 'NVIDIA 550',
        vendor: 'nvidia',
        architecture: 'hopper',
        driver: 'hardware',
        isSoftware: false,
        reason: 'so',
      },
      'NVIDIA H100, NVIDIA 550 (nvidia hopper); driver: hardware; taken because so',
    ],
    [
      'a GPU without a name',
      {
        device: '',
        description: '',
        vendor: 'nvidia',
        architecture: 'hopper',
        driver: 'hardware',
        isSoftware: false,
        reason: 'so',
      },
      'nvidia hopper; driver: hardware; taken because so',
    ],
    [
      'a browser that tells nothing',
      {
        device: '',
        description: '',
        vendor: '',
        architecture: '',
        driver: 'hardware',
        isSoftware: false,
        reason: 'so',
      },
      'unnamed; driver: hardware; taken because so',
    ],
  ])('%s', (_name, change, line) => expect(deviceLine({ ...info, ...change })).toBe(line));
});
