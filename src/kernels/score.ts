import type { Constants } from '../gpu/shader.ts';
import { modifierParams, type Modifiers } from './modifiers.ts';
import { twoWords } from './random.ts';

/** Says that something is not in the binding `table`. */
const ABSENT = 0xffffffff;

/**
 * What happens to scores between scale · q · k and the mask, and where the small inputs that say so lie in the binding
 * `table` (elements). Twin of parts/score.wgsl and of `sequence_at` in parts/visibility.wgsl.
 */
export interface Scores {
  readonly softcap?: number;
  /** ALiBi's; `pitch` elements between batch entries. */
  readonly slopes?: { readonly at: number; readonly pitch: number };
  readonly sinksAt?: number;
  readonly queryOffsetsAt?: number;
  readonly keyLengthsAt?: number;
  /** A packed batch: `count` sequences lie behind each other. */
  readonly sequences?: { readonly at: number; readonly count: number };
  readonly dropout?: Dropout;
  readonly modifiers?: Modifiers;
  readonly capturesAt?: readonly number[];
}

/** Each weight is 0 with probability `p`, by draws that `seed` determines, a whole number below 2⁵³. Twin of parts/dropout.wgsl. */
export interface Dropout {
  readonly p: number;
  readonly seed: number;
}

/** Uniform fields that parts/dropout.wgsl reads. */
function dropoutParams({ p, seed }: Dropout = { p: 0, seed: 0 }) {
  return {
    dropout_p: p,
    dropout_scale: p < 1 ? 1 / (1 - p) : 0, // of weights that there are none of
    dropout_seed: twoWords(seed),
  };
}

export function scoreParams(scores: Scores) {
  return {
    softcap: scores.softcap ?? 0,
    slopes_at: scores.slopes?.at ?? ABSENT,
    slopes_pitch: scores.slopes?.pitch ?? 0,
    sinks_at: scores.sinksAt ?? ABSENT,
    query_offsets_at: scores.queryOffsetsAt ?? ABSENT,
    key_lengths_at: scores.keyLengthsAt ?? ABSENT,
    sequences_at: scores.sequences?.at ?? ABSENT,
    sequences: scores.sequences?.count ?? 0,
    ...dropoutParams(scores.dropout),
    ...modifierParams(scores.modifiers, scores.capturesAt),
  };
}

export function scoreConstants({ softcap, slopes, dropout, modifiers }: Scores): Constants {
  const { hasScoreMod = false, hasMaskMod = false } = modifiers ?? {};
  const modifies = softcap !== undefined || slopes !== undefined || hasScoreMod;
  return {
    ...(modifies && { MODIFIES_SCORES: true }),
    ...(hasScoreMod && { HAS_SCORE_MOD: true }),
    ...(hasMaskMod && { HAS_MASK_MOD: true }),
    ...(dropout && { HAS_DROPOUT: true }),
  };
}
