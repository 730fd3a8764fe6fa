/**
 * Uniform numbers in [0, 1) (the "mulberry32" generator). The stream of a step follows from the seed and the step's number
 * alone, so that a run that is resumed at a step draws what an uninterrupted one draws there.
 */
export function randomOf(seed, step) {
  let state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(step, 0x85ebca6b)) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}
