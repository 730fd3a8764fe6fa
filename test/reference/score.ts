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
  scoreMod?: (score: number, batch: number, head: number, query: number, key: number) => number;
}

/**
 * The two steps for scores of the given shape, [B, H, Nq, Nk]. `round` is what the result of each operation is stored as, by
 * default in full.
 */
export function scoreSteps(shape: readonly number[], options: ScoreOptions, round = (score: number) => score) {
  const { softcap, alibiSlopes, scoreMod } = options;
  const [batches, heads] = shape;
  const align = alignments(options).window;
  const from = Array.from({ length: batches }, (_, b) => firstPosition(shape, b, align, options));
  const slopesPerBatch = alibiSlopes?.shape.length === 2 ? heads : 0;
  return {
    cap: (scaled: number) => (softcap === undefined ? scaled : round(softcap * Math.tanh(scaled / softcap))),
    modify: (capped: number, b: number, h: number, i: number, j: number) => {
      let score = capped;
      if (alibiSlopes) score = round(score - alibiSlopes.data[b * slopesPerBatch + h] * Math.abs(i + from[b] - j));
      return scoreMod ? round(scoreMod(score, b, h, i, j)) : score;
    },
  };
}
