import type { Tolerance } from './tolerances.ts';

/**
 * Throws unless every element is within `atol + rtol · |expected|`. NaN on either side fails, as does a missing element; an
 * infinity equals only itself.
 *
 * @returns the largest absolute error, for tables
 */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { atol, rtol }: Tolerance,
  label: string,
): number {
  expectSameLength(actual, expected, label);
  let [worst, worstExcess, outside, largest] = [-1, 0, 0, 0];
  for (let i = 0; i < expected.length; i++) {
    const error = difference(actual[i], expected[i]);
    largest = Math.max(largest, error);
    const excess = error - (atol + rtol * Math.abs(expected[i]));
    // Negated, so that NaN is outside.
    if (!(excess <= 0) && !(error === 0)) {
      outside++;
      if (worst < 0 || !(excess <= worstExcess)) [worst, worstExcess] = [i, excess];
    }
  }
  if (outside > 0) {
    const error = difference(actual[worst], expected[worst]);
    throw new Error(
      `${label}: ${outside} of ${expected.length} elements are outside ${atol} + ${rtol}·|expected|; worst at ${worst}: ` +
        `got ${actual[worst]}, wanted ${expected[worst]}, error ${error.toPrecision(3)}`,
    );
  }
  return largest;
}

/**
 * Throws unless the largest error of `actual` is at most twice that of `straightforward`, an evaluation that rounds every stage to
 * float16, plus `atol`.
 *
 * @returns the largest absolute error
 */
export function expectFloat16Close(
  actual: ArrayLike<number>,
  straightforward: ArrayLike<number>,
  expected: ArrayLike<number>,
  atol: number,
  label: string,
): number {
  expectSameLength(straightforward, expected, `${label} (straightforward)`);
  let allowed = 0;
  for (let i = 0; i < expected.length; i++) {
    allowed = Math.max(allowed, difference(straightforward[i], expected[i]));
  }
  return expectClose(actual, expected, { atol: 2 * allowed + atol, rtol: 0 }, label);
}

function expectSameLength(actual: ArrayLike<number>, expected: ArrayLike<number>, label: string): void {
  if (actual.length !== expected.length) {
    throw new Error(`${label}: got ${actual.length} elements, wanted ${expected.length}`);
  }
}

function difference(actual: number, expected: number): number {
  return actual === expected ? 0 : Math.abs(actual - expected);
}
