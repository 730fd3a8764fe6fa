/**
 * What becomes of a scaled score before masks.
 *
 *     capped   = softcap · tanh(scaled / softcap)
 *     modified = scoreMod(capped − slope[b, h] · |i + offset − j|, b, h, i, j)      offset: visibility.ts
 */
import type { HostArray } from './host-array.ts';
import { alignments, firstPosition, type VisibilityOptions } from './visibility.ts';

export interface ScoreOptions extends VisibilityOptions {
  /** Default 1/√D. */
  scale?: number;
  softcap?: number;
  /** [H] or [B, H]. */
  alibiSlopes?: HostArray;
  scoreMod?: ScoreFunction;
  /** ∂ scoreMod / ∂ score, at the same score; gradients need it. */
  scoreModDerivative?: ScoreFunction;
}

type ScoreFunction = (score: number, batch: number, head: number, query: number, key: number) => number;

/**
 * The two steps for scores of the given shape, [B, H, Nq, Nk], and the slope of both together. `round` is what the result of
 * each operation is stored as, by default in full.
 */
export function scoreSteps(shape: readonly number[], options: ScoreOptions, round = (score: number) => score) {
  const { softcap, alibiSlopes, scoreMod, scoreModDerivative } = options;
  const [batches, heads] = shape;
  const align = alignments(options).window;
  const from = Array.from({ length: batches }, (_, b) => firstPosition(shape, b, align, options));
  const slopesPerBatch = alibiSlopes?.shape.length === 2 ? heads : 0;
  const cap = (scaled: number) => (softcap === undefined ? scaled : round(softcap * Math.tanh(scaled / softcap)));
  const shift = (capped: number, b: number, h: number, i: number, j: number) =>
    alibiSlopes ? round(capped - alibiSlopes.data[b * slopesPerBatch + h] * Math.abs(i + from[b] - j)) : capped;
  return {
    cap,
    modify: (capped: number, b: number, h: number, i: number, j: number) => {
      const score = shift(capped, b, h, i, j);
      return scoreMod ? round(scoreMod(score, b, h, i, j)) : score;
    },
    /** ∂ modify(cap(scaled)) / ∂ scaled */
    slope: (scaled: number, b: number, h: number, i: number, j: number) => {
      const ofCap = softcap === undefined ? 1 : 1 - Math.tanh(scaled / softcap) ** 2;
      if (!scoreMod) return ofCap;
      if (!scoreModDerivative) throw new Error('the gradient of a scoreMod needs scoreModDerivative');
      return ofCap * scoreModDerivative(shift(cap(scaled), b, h, i, j), b, h, i, j);
    },
  };
}
