/** Functions of numbers in float64, with their limits at ±∞; NaN gives NaN. */
import { broadcast, broadcastShape, type Float64HostArray, type HostArray } from './host-array.ts';

/**
 * The complementary error function: of small x by the error function's series at 0, of large x by a continued fraction.
 * Relative errors are below 1e-8, and below 1e-14 where the result is not small.
 */
export function erfc(x: number): number {
  if (Number.isNaN(x)) return NaN;
  if (x < 0) return 2 - erfc(-x);
  if (x < 3) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 100; n++) {
      term *= -(x * x) / n;
      sum += term / (2 * n + 1);
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * sum;
  }
  // exp(−x²) / √π / (x + (1/2) / (x + (2/2) / (x + (3/2) / …)))
  let fraction = x;
  for (let n = 200; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

export const functions = {
  gelu: (x: number): number => (x === -Infinity ? 0 : (x * erfc(-x / Math.SQRT2)) / 2),
  /** ½ (1 + tanh u) = σ(2u), which does not cancel where tanh u nears −1. */
  geluTanh: (x: number): number =>
    x === -Infinity ? 0 : x * sigmoid(2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)),
  silu: (x: number): number => (x === -Infinity ? 0 : x * sigmoid(x)),
  relu: (x: number): number => (x < 0 ? 0 : x),
  tanh: (x: number): number => Math.tanh(x),
  add: (x: number, y: number): number => x + y,
  multiply: (x: number, y: number): number => x * y,
  swiglu: (x: number, y: number): number => functions.silu(x) * y,
};

/** The functions of `test/ops/arithmetic.test.ts`, each within its domain. */
export const arithmetic = {
  subtract: (x: number, y: number): number => x - y,
  divide: (x: number, y: number): number => x / y,
  power: (x: number, y: number): number => x ** y,
  maximum: (x: number, y: number): number => Math.max(x, y),
  minimum: (x: number, y: number): number => Math.min(x, y),
  bceWithLogits: (x: number, y: number): number => y * Math.log1p(Math.exp(-x)) + (1 - y) * Math.log1p(Math.exp(x)),
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  sigmoid,
  abs: Math.abs,
};

/** `apply` of every element, or of every pair of elements of two arrays that broadcast together. */
export function elementwise(
  apply: (x: number, y: number) => number,
  x: HostArray,
  y: HostArray = { shape: [1], data: [0] },
): Float64HostArray {
  const shape = broadcastShape(x.shape, y.shape);
  const [a, b] = [broadcast(x, shape), broadcast(y, shape)];
  return { shape, data: a.data.map((value, i) => apply(value, b.data[i])) };
}
