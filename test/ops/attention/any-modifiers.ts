/**
 * Modifiers that do whatever functions of JavaScript do, by tables of their results: one text each, since compiling takes
 * most of a test's time.
 */
import { type Device, type MaskMod, maskMod, type ScoreMod, scoreMod } from '../../../src/index.ts';
import type { MaskFunction } from '../../reference/block-mask.ts';

/** Batch, heads, queries, keys; where a length is 1, or shorter than the call's, the last counts for those behind it. */
export type ScoreShape = readonly [number, number, number, number];

export type Shift = (batch: number, head: number, query: number, key: number) => number;

/** The tensor that it captures is the caller's: make it inside a scope. */
export function anyMask(device: Device, shape: ScoreShape, mask: MaskFunction): MaskMod {
  const allowed = device.tensor(Uint8Array.from(tabulate(shape, mask), Number), shape);
  return maskMod(
    `fn mask_mod(batch: u32, head: u32, query: u32, key: u32) -> bool {
       return allowed(batch, head, query, key);
     }`,
    { captures: { allowed } },
  );
}

/** slope · score + shift(batch, head, query, key); the tensor is the caller's. */
export function anyScore(device: Device, shape: ScoreShape, slope: number, shift: Shift): ScoreMod {
  return scoreMod(
    `fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
       return slope() * score + shift(batch, head, query, key);
     }`,
    {
      captures: { slope, shift: device.tensor(tabulate(shape, shift), shape) },
      derivative: `fn score_mod_derivative(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
        return slope();
      }`,
    },
  );
}

function tabulate<T>(shape: ScoreShape, value: (b: number, h: number, i: number, j: number) => T): T[] {
  const [batch, heads, queries, keys] = shape;
  return Array.from({ length: batch * heads * queries * keys }, (_, at) => {
    const row = Math.floor(at / keys);
    const head = Math.floor(row / queries);
    return value(Math.floor(head / heads), head % heads, row % queries, at % keys);
  });
}
