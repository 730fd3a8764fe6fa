import type { KernelChoices } from '../tensor/traits.ts';

/** One way to compute an op: a kernel family with its tile. */
export interface Variant {
  /** The name that `info` shows and choices use: `tile-32x32`, `subgroup`. */
  readonly name: string;
}

export interface Choice<V extends Variant> {
  readonly variant: V;
  /** One clause. */
  readonly reason: string;
}

/** The key under which a choice is remembered. */
export interface ChoiceKey {
  readonly op: string;
  readonly dtype: string;
  /** Problems that share a compiled kernel, or whose best kernel is the same. */
  readonly sizeClass: string | number;
}

export const NO_CHOICES: KernelChoices = { pinned: new Map(), tuned: new Map() };

export function formatKey({ op, dtype, sizeClass }: ChoiceKey): string {
  return `${op}/${dtype}/${sizeClass}`;
}

/** The pinned variant, else the tuned one, if it can compute the problem; else the preferred one. */
export function decide<V extends Variant>(
  key: ChoiceKey,
  candidates: readonly V[],
  preferred: Choice<V>,
  choices: KernelChoices,
): Choice<V> {
  const find = (name: string | undefined) =>
    name === undefined ? undefined : candidates.find((candidate) => candidate.name === name);
  const pinned = find(choices.pinned.get(key.op));
  if (pinned) return { variant: pinned, reason: 'pinned' };
  const remembered = choices.tuned.size > 0 ? choices.tuned.get(formatKey(key)) : undefined;
  const tuned = find(remembered?.kernel);
  return tuned ? { variant: tuned, reason: `chosen by tune() on ${remembered!.date}` } : preferred;
}
