/**
 * The one tolerance table: an element may differ from the float64 reference by `atol + rtol · |reference|`.
 *
 * One float32 operation rounds by u = 2⁻²⁴ ≈ 6e-8 relative, one float16 store by 2⁻¹¹ ≈ 4.9e-4. The bounds are for operands of
 * magnitude about 1; where a test's operands are larger, the functions below widen them in proportion.
 */
export interface Tolerance {
  readonly atol: number;
  readonly rtol: number;
}

const U32 = 2 ** -24;

export const tolerances = {
  /** Stored and reread without arithmetic. */
  exact: { atol: 0, rtol: 0 },
  float32: {
    /** Attention's gradients: two products of the forward pass', and sums over up to some hundred queries. */
    gradient: { atol: 1e-6, rtol: 2e-5 },
    /** Scores sum up to 256 products, values up to some thousand weights: errors of about 30 u; exp may be off by 3 + 2|x| ulp in WGSL. */
    attention: { atol: 2e-5, rtol: 2e-5 },
    /** Weights are at most 1, and small ones inherit exp's relative error, 2|x| ulp, and that of the scores. */
    weights: { atol: 2e-6, rtol: 1e-4 },
    /** The scores' error plus that of a logarithm near 1, which WGSL bounds absolutely (2⁻²¹). */
    logSumExp: { atol: 2e-5, rtol: 1e-6 },
    /** Sums of up to 256 products, and a hyperbolic tangent by an exponential that may be off by 3 + 2|x| ulp. */
    scores: { atol: 1e-5, rtol: 1e-5 },
    softmax: { atol: 1e-6, rtol: 2e-5 },
    /** Two products of numbers up to about 5 and their sum. */
    rotatedKey: { atol: 1e-6, rtol: 1e-6 },
    /** exp may be off by 3 + 2|x| ulp in WGSL, and here x reaches −88, where the exponential is subnormal and may be 0. */
    activation: { atol: 1e-36, rtol: 3e-5 },
    /** A quotient, an exponential of up to ±9 or a logarithm, or what cancels in a sum of numbers of magnitude about 1. */
    arithmetic: { atol: 1e-6, rtol: 1e-5 },
    /** A sum of up to 4096 squares in lanes of some hundred each, a root and a quotient. */
    normalised: { atol: 2e-6, rtol: 1e-5 },
    /** The same, with three sums; differences of two digits' cancellation, or sums over up to 90 rows. */
    normalisedGradient: { atol: 1e-5, rtol: 2e-5 },
    /** Sums of up to 20,000 numbers of magnitude about 1, in lanes of some hundred each. */
    sum: { atol: 3e-5, rtol: 1e-6 },
    /** Gradients of elementwise functions, products and sums of up to some hundred terms. Finite differences are right to 1e-9. */
    opGradient: { atol: 1e-5, rtol: 2e-5 },
    /** A weight times differences of gradients up to 4, which inherit its relative error; the mask's are sums of up to 200. */
    softmaxGradient: { atol: 4e-6, rtol: 4e-5 },
    /** Differences of logits and the logarithm of a sum of exponentials, in a sum over up to some thousand rows. */
    crossEntropy: { atol: 4e-6, rtol: 2e-6 },
    /** As the softmax, of rows whose gradients are about 1. */
    crossEntropyGradient: { atol: 1e-6, rtol: 2e-5 },
    /** Two products and a sum of numbers of magnitude up to 4; the tables are the reference's. */
    rotated: { atol: 1e-6, rtol: 1e-6 },
    /** Three projections of up to 512 products before the attention and one after it. */
    module: { atol: 5e-5, rtol: 5e-5 },
    /** The same again, and sums over all rows. */
    moduleGradient: { atol: 5e-5, rtol: 5e-5 },
    /** A language model: up to five layers of attention and products of up to 172 terms; errors of 1e-5 are usual. */
    logits: { atol: 5e-5, rtol: 1e-5 },
    /** Five steps of an optimiser, each of some 15 roundings of numbers that grow with the gradients, up to some hundred. */
    updated: { atol: 1e-6, rtol: 2e-6 },
  },
  float16: {
    /** Arithmetic is float32; what is left is one rounding on storing the result, with one more ulp of room. */
    attention: { atol: 5e-4, rtol: 1e-3 },
    /** Attention's gradients: errors of the stored output (or weights) and their gradients, each rounded once, and once on storing. */
    gradient: { atol: 1e-3, rtol: 1e-3 },
    weights: { atol: 2e-4, rtol: 1e-3 },
    logSumExp: { atol: 2e-5, rtol: 1e-6 },
    scores: { atol: 1e-4, rtol: 1e-3 },
    softmax: { atol: 1e-4, rtol: 1e-3 },
    /** The same, rounded once on storing. */
    rotatedKey: { atol: 1e-6, rtol: 6e-4 },
    /** One rounding on storing the result. */
    arithmetic: { atol: 1e-6, rtol: 6e-4 },
    /** One rounding on storing the result; the smallest results are subnormal. */
    activation: { atol: 1e-7, rtol: 6e-4 },
    normalised: { atol: 1e-5, rtol: 6e-4 },
    normalisedGradient: { atol: 2e-5, rtol: 6e-4 },
    softmaxGradient: { atol: 1e-5, rtol: 1e-3 },
    crossEntropyGradient: { atol: 1e-6, rtol: 6e-4 },
    /** One rounding on storing the result. */
    sum: { atol: 3e-5, rtol: 6e-4 },
    /** One rounding on storing the result, and before that one of each term of a sum that undoes broadcasting. */
    opGradient: { atol: 2e-3, rtol: 1e-3 },
    rotated: { atol: 1e-5, rtol: 6e-4 },
    /** Projections are stored in float16 between the stages, and their roundings add up over the rows that follow. */
    module: { atol: 4e-3, rtol: 4e-3 },
    /** A language model whose keys and values alone are float16: one rounding of each, carried through up to five layers. */
    logits: { atol: 3e-2, rtol: 1e-3 },
    /** Every activation is rounded too, and the logits themselves. */
    llama: { atol: 6e-2, rtol: 2e-3 },
    /** Added to twice the error of the straightforward float16 evaluation (`expectFloat16Close`). */
    beyondStraightforward: 1e-5,
    /** The same for gradients of attention, of the largest: both evaluations take differences of what was rounded, and either may be lucky. */
    gradientBeyondStraightforward: 2 ** -11,
    /** The same for modules, where both evaluations round four times and either may be lucky: one rounding of a value below 1/2. */
    moduleBeyondStraightforward: 2 ** -13,
  },
} as const;

/** A product over `inner` terms of standard deviation about 1: partial sums grow like √inner, and so do their roundings' number. */
export function matmulTolerance(inner: number, dtype: 'float32' | 'float16' = 'float32'): Tolerance {
  const atol = 4 * U32 * inner;
  return dtype === 'float32' ? { atol: atol + 1e-6, rtol: 1e-5 } : { atol: atol + 1e-4, rtol: 1e-3 };
}

/**
 * For scores and values far from 1. Scores are rounded by some u · |score|, which is the weights' relative error and so, times the
 * largest value, the output's error; logSumExp takes the scores' error as it is. Only scores near a row's largest matter, so
 * `maxScore` may be taken as the largest finite |logSumExp|.
 */
export function widen(
  tolerance: Tolerance,
  { maxScore = 1, maxValue = 1 }: { maxScore?: number; maxValue?: number },
): Tolerance {
  const scoreError = 8 * U32 * maxScore;
  return { atol: (tolerance.atol + scoreError) * Math.max(1, maxValue), rtol: tolerance.rtol };
}

/**
 * Gradients of attention. A score's gradient is its weight times a difference of gradients of weights, which are as large as
 * `magnitude`, and so are its rounding errors; `maxScore` as in `widen`. In float16 the difference is of what was stored so.
 */
export function gradientTolerance(
  dtype: 'float32' | 'float16',
  { maxScore, magnitude }: { maxScore: number; magnitude: number },
): Tolerance {
  const { atol, rtol } = tolerances[dtype].gradient;
  return { atol: (atol + 8 * U32 * maxScore) * magnitude, rtol };
}
