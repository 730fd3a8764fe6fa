import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../src/index.ts';
import { foldWorkgroups, readsQuads, twoWords } from '../../src/kernels/launch.ts';
import { DEFAULTS } from './problems.ts';

const MOST = DEFAULTS.maxComputeWorkgroupsPerDimension;

describe('foldWorkgroups', () => {
  test.each([
    [1, [1, 1, 1]],
    [MOST, [MOST, 1, 1]],
    [MOST + 1, [32_768, 2, 1]],
    [2 * MOST + 1, [43_691, 3, 1]],
    [MOST * MOST, [MOST, MOST, 1]],
  ])('%d workgroups are %j', (count, folded) => {
    expect(foldWorkgroups('op', count, DEFAULTS)).toEqual(folded);
  });

  test('covers every workgroup, within the limit, with less than one spare row', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: MOST * MOST }), (count) => {
        const [x, y, z] = foldWorkgroups('op', count, DEFAULTS);
        expect(Math.max(x, y)).toBeLessThanOrEqual(MOST);
        expect(z).toBe(1);
        expect(x * y).toBeGreaterThanOrEqual(count);
        expect(x * y - count).toBeLessThan(y);
      }),
    );
  });

  test('goes by the limit of the device', () => {
    expect(foldWorkgroups('op', 10, { ...DEFAULTS, maxComputeWorkgroupsPerDimension: 4 })).toEqual([4, 3, 1]);
  });

  test('refuses more than two dimensions hold', () => {
    expect(() => foldWorkgroups('op', MOST * MOST + 1, DEFAULTS)).toThrow(
      new ArgumentError(`op: the problem must need at most ${MOST * MOST} workgroups, got ${MOST * MOST + 1}`),
    );
  });
});

describe('readsQuads', () => {
  test.each([
    ['contiguous rows', [64, 8, 1], 0, 2, true],
    ['along a column of a transposed view', [64, 1, 8], 0, 1, true],
    ['an offset of whole quads', [64, 8, 1], 12, 2, true],
    ['a broadcast axis', [0, 8, 1], 0, 2, true],
    ['rows of a length that is no multiple of four', [60, 6, 1], 0, 2, false],
    ['an offset inside a quad', [64, 8, 1], 2, 2, false],
    ['every second element', [64, 16, 2], 0, 2, false],
    ['the wrong axis', [64, 1, 8], 0, 2, false],
    ['an outer axis that is not aligned', [61, 8, 1], 0, 2, false],
  ])('%s', (_, strides, offset, axis, expected) => {
    expect(readsQuads({ strides, offset }, axis)).toBe(expected);
  });

  test('is true only where four neighbours lie in one aligned vector', () => {
    const strides = fc.array(fc.constantFrom(0, 1, 2, 3, 4, 8, 12, 16), { minLength: 3, maxLength: 3 });
    fc.assert(
      fc.property(strides, fc.nat({ max: 9 }), fc.nat({ max: 2 }), (operand, offset, axis) => {
        const quads = [0, 1, 2].flatMap((i) =>
          [0, 1, 2].map((j) => {
            const others = [0, 1, 2].filter((other) => other !== axis);
            const at = offset + i * operand[others[0]] + j * operand[others[1]] + 4 * i * operand[axis];
            return [0, 1, 2, 3].map((lane) => at + lane * operand[axis]);
          }),
        );
        const areVectors = quads.every((quad) => quad[0] % 4 === 0 && quad.every((at, lane) => at === quad[0] + lane));
        expect(readsQuads({ strides: operand, offset }, axis)).toBe(areVectors);
      }),
    );
  });
});

test('a number of up to 53 bits is two words', () => {
  expect(twoWords(0)).toEqual([0, 0]);
  expect(twoWords(2 ** 32 - 1)).toEqual([2 ** 32 - 1, 0]);
  expect(twoWords(2 ** 32 + 5)).toEqual([5, 1]);
  expect(twoWords(2 ** 53 - 1)).toEqual([2 ** 32 - 1, 2 ** 21 - 1]);
});
