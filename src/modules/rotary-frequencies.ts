/** How fast each pair of a rotary embedding rotates, in float64, with Hugging Face's ways to stretch it to longer texts. */
import { ArgumentError } from '../gpu/errors.ts';
import { describe } from '../ops/internal/check.ts';
import { checkOptions } from '../tensor/options.ts';

/** Every length is in positions. */
export type RotaryScaling =
  /** Position interpolation: divides positions by the factor (Chen et al. 2023). */
  | { type: 'linear'; factor: number }
  /** A base of base · factor^(dim / (dim − 2)), which slows the slowest pair by the factor and leaves the fastest as it is. */
  | { type: 'ntk'; factor: number }
  /** Llama 3.1's: slows pairs that rotate less than `lowFreqFactor` times in `originalMaxLength` by the factor, and keeps pairs
   * that rotate more than `highFreqFactor` times. */
  | { type: 'llama3'; factor: number; lowFreqFactor: number; highFreqFactor: number; originalMaxLength: number }
  /** YaRN (Peng et al. 2023): the same with `betaSlow` (default 1) and `betaFast` (default 32), blended along the pairs. */
  | { type: 'yarn'; factor: number; originalMaxLength: number; betaFast?: number; betaSlow?: number };

const FIELDS: Readonly<Record<RotaryScaling['type'], readonly string[]>> = {
  linear: ['factor'],
  ntk: ['factor'],
  llama3: ['factor', 'lowFreqFactor', 'highFreqFactor', 'originalMaxLength'],
  yarn: ['factor', 'originalMaxLength', 'betaFast', 'betaSlow'],
};

export function checkScaling(name: string, dim: number, scaling: RotaryScaling): void {
  const type: unknown = (scaling as RotaryScaling | null)?.type;
  if (typeof type !== 'string' || !Object.hasOwn(FIELDS, type)) {
    throw new ArgumentError(
      `${name}: scaling.type must be one of ${Object.keys(FIELDS).join(', ')}, got ${describe(type)}`,
    );
  }
  const fields = FIELDS[type as RotaryScaling['type']];
  checkOptions(`${name}.scaling`, scaling, ['type', ...fields]);
  const values = { ...DEFAULTS, ...scaling } as unknown as Readonly<Record<string, unknown>>;
  for (const field of fields) {
    const value = values[field];
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) {
      throw new ArgumentError(`${name}: scaling.${field} must be a number greater than 0, got ${describe(value)}`);
    }
  }
  if (scaling.type === 'llama3' && scaling.highFreqFactor <= scaling.lowFreqFactor) {
    throw new ArgumentError(
      `${name}: scaling.highFreqFactor must exceed lowFreqFactor ${scaling.lowFreqFactor}, got ${scaling.highFreqFactor}`,
    );
  }
  if (scaling.type === 'ntk' && dim === 2) throw new ArgumentError(`${name}: dim must exceed 2 for ntk scaling, got 2`);
}

const DEFAULTS = { betaFast: 32, betaSlow: 1 };

/** Radians per position for each of dim / 2 pairs, and the factor by which the tables are multiplied. */
export function rotaryFrequencies(
  dim: number,
  base: number,
  scaling?: RotaryScaling,
): { frequencies: readonly number[]; attentionFactor: number } {
  const plain = (from: number) => Array.from({ length: dim / 2 }, (_, i) => from ** ((-2 * i) / dim));
  switch (scaling?.type) {
    case undefined:
      return { frequencies: plain(base), attentionFactor: 1 };
    case 'linear':
      return { frequencies: plain(base).map((frequency) => frequency / scaling.factor), attentionFactor: 1 };
    case 'ntk':
      return { frequencies: plain(base * scaling.factor ** (dim / (dim - 2))), attentionFactor: 1 };
    case 'llama3': {
      const { factor, lowFreqFactor, highFreqFactor, originalMaxLength } = scaling;
      const frequencies = plain(base).map((frequency) => {
        const turns = (originalMaxLength * frequency) / (2 * Math.PI);
        const kept = clamp((turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor));
        return blend(frequency / factor, frequency, kept);
      });
      return { frequencies, attentionFactor: 1 };
    }
    case 'yarn': {
      const { factor, originalMaxLength, betaFast, betaSlow } = { ...DEFAULTS, ...scaling };
      // the index, as a fraction, of the pair that rotates this many times in the original length
      const pairOf = (turns: number) =>
        (dim * Math.log(originalMaxLength / (2 * Math.PI * turns))) / (2 * Math.log(base));
      const low = Math.max(Math.floor(pairOf(betaFast)), 0);
      const high = Math.min(Math.ceil(pairOf(betaSlow)), dim - 1);
      const width = high === low ? 0.001 : high - low;
      const frequencies = plain(base).map((frequency, i) =>
        blend(frequency, frequency / factor, clamp((i - low) / width)),
      );
      return { frequencies, attentionFactor: factor > 1 ? 0.1 * Math.log(factor) + 1 : 1 };
    }
  }
}

function clamp(share: number): number {
  return Math.min(Math.max(share, 0), 1);
}

function blend(from: number, to: number, share: number): number {
  return from + share * (to - from);
}
