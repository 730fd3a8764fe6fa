import { expect, test } from 'vitest';
import { twoWords } from '../../src/kernels/random.ts';

test('a number of up to 53 bits is two words', () => {
  expect(twoWords(0)).toEqual([0, 0]);
  expect(twoWords(2 ** 32 - 1)).toEqual([2 ** 32 - 1, 0]);
  expect(twoWords(2 ** 32 + 5)).toEqual([5, 1]);
  expect(twoWords(2 ** 53 - 1)).toEqual([2 ** 32 - 1, 2 ** 21 - 1]);
});
