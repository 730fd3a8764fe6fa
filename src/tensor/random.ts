/** What is random: numbers that a kernel draws, and streams on the host. */

import type { FloatDType } from './dtype.ts';
import type { Shape } from './shape.ts';

/** Random numbers of a tensor. They depend on nothing but these fields and an element's row-major index. */
export interface RandomNumbers {
  /** In (−scale, scale), or with mean 0 and the deviation `scale`. */
  readonly distribution: 'uniform' | 'normal';
  readonly scale: number;
  /** An integer whose magnitude is below 2⁵³. */
  readonly seed: number;
  /** Keeps tensors of one seed apart: a whole number below 2³². */
  readonly stream: number;
}

/** A tensor to fill with them. */
export interface RandomProblem extends RandomNumbers {
  /** The op's name, for errors. */
  readonly op: string;
  readonly shape: Shape;
  readonly dtype: FloatDType;
}

/** Uniform numbers in [0, 1), 32 bits each (the "mulberry32" generator). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal numbers (Box–Muller). */
export function normal(seed: number): () => number {
  const next = uniform(seed);
  let spare: number | undefined;
  return () => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - next()));
    const angle = 2 * Math.PI * next();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}
