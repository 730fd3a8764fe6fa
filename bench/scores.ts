/** How a case changes its scores, other than by hiding some: the options of the op, and the same for the reference. */
import { alibi, softcap } from '../src/index.ts';
import type { ScoreOptions } from '../src/index.ts';
import { attentionSizes } from './cost.ts';
import type { Inputs } from './inputs.ts';
import type { BenchCase } from './result.ts';

/** The changes to the scores of one head. */
interface HeadScores {
  /** ALiBi's slope; 0 without it. */
  readonly slope: number;
  readonly softcap?: number;
  readonly sink?: number;
}

export async function scores(
  inputs: Inputs,
  bench: BenchCase,
): Promise<{ options: ScoreOptions; of: (head: number) => HeadScores }> {
  const { heads } = attentionSizes(bench);
  const isModifier = bench.via === 'score-mod';
  const { softcap: cap } = bench;
  const slopes = bench.alibi
    ? inputs.floats(Float32Array.from({ length: heads }, (_, head) => 2 ** ((-8 * (head + 1)) / heads)))
    : undefined;
  const sinks = bench.sinks ? await inputs.normal([heads], 'float32') : undefined;
  const capping = cap === undefined ? {} : isModifier ? { scoreMod: softcap(cap) } : { softcap: cap };
  const biasing = !slopes ? {} : isModifier ? { scoreMod: alibi(slopes.tensor) } : { alibiSlopes: slopes.tensor };
  return {
    options: { ...capping, ...biasing, ...(sinks && { sinks: sinks.tensor }) },
    of: (head) => ({ slope: slopes?.host[head] ?? 0, softcap: cap, sink: sinks?.host[head] }),
  };
}
