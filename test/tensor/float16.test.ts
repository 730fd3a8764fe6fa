import { Float16Array } from '@petamoriken/float16';
import { describe, expect, test } from 'vitest';
import { decodeFloat16, encodeFloat16 } from '../../src/tensor/float16.ts';
import { Random } from '../random.ts';

const all = Uint16Array.from({ length: 0x10000 }, (_, bits) => bits);
const isNaN16 = (bits: number) => (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0;

/** The bits of an implementation that is not ours. */
function reference(values: ArrayLike<number>): Uint16Array {
  return new Uint16Array(Float16Array.from(values).buffer);
}

/** Compares in bulk: one expectation for each of 65,536 elements would take a minute. */
function firstDifference(a: ArrayLike<number>, b: ArrayLike<number>): number | undefined {
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return i;
  return undefined;
}

describe('decodeFloat16', () => {
  test('gives the value of every pattern', () => {
    const expected = Float32Array.from(new Float16Array(all.slice().buffer));
    expect(firstDifference(decodeFloat16(all), expected)).toBeUndefined();
  });
});

describe('encodeFloat16', () => {
  test('brings every pattern back, NaNs as the quiet one', () => {
    const expected = all.map((bits) => (isNaN16(bits) ? 0x7e00 : bits));
    expect(firstDifference(encodeFloat16(decodeFloat16(all)), expected)).toBeUndefined();
  });

  test('rounds ties to even, and what lies beside a tie to its side', () => {
    const finite = all.filter((bits) => bits < 0x7bff); // positive, with a finite neighbour above
    const values = decodeFloat16(finite);
    const above = decodeFloat16(finite.map((bits) => bits + 1));
    const ties = values.map((value, i) => (value + above[i]) / 2); // exact in float32
    const even = finite.map((bits) => bits + (bits & 1));
    expect(firstDifference(encodeFloat16(ties), even)).toBeUndefined();
    expect(
      firstDifference(
        encodeFloat16(ties.map((tie) => -tie)),
        even.map((bits) => bits | 0x8000),
      ),
    ).toBeUndefined();
    const step = (tie: number) => Math.max(tie * 2 ** -22, 2 ** -40);
    expect(firstDifference(encodeFloat16(ties.map((tie) => tie - step(tie))), finite)).toBeUndefined();
    expect(
      firstDifference(
        encodeFloat16(ties.map((tie) => tie + step(tie))),
        finite.map((bits) => bits + 1),
      ),
    ).toBeUndefined();
  });

  test('agrees with another implementation on float32 values of every size', () => {
    const random = new Random(16);
    const values = Float32Array.from({ length: 200_000 }, () => random.normal() * 2 ** random.integer(-30, 18));
    expect(firstDifference(encodeFloat16(values), reference(values))).toBeUndefined();
  });

  test.each([
    [65519.996, 0x7bff],
    [65520, 0x7c00],
    [1e30, 0x7c00],
    [Infinity, 0x7c00],
    [-Infinity, 0xfc00],
    [NaN, 0x7e00],
    [0, 0],
    [-0, 0x8000],
    [2 ** -24, 1],
    [2 ** -25, 0],
    [2 ** -25 + 2 ** -40, 1],
    [-(2 ** -26), 0x8000],
    [1e-40, 0],
    [2 ** -14, 0x0400],
    [1, 0x3c00],
    [-2, 0xc000],
  ])('%d is %i', (value, bits) => {
    expect(encodeFloat16([value])).toEqual(Uint16Array.of(bits));
  });
});
