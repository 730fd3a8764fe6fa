/** Long launches become several, of ranges of their workgroups, so that none keeps the GPU from everything else for long. */
import type { UniformValues } from './uniform.ts';

/** What of a launch its division depends on, and changes. */
interface Divisible {
  readonly params: UniformValues;
  readonly workgroups: readonly [number, number, number];
  readonly operations?: number;
}

/** The grid of `count` workgroups: more than one dimension holds are folded into y. Shaders undo it with `linear_group`. */
export function fold(count: number, mostPerDimension: number): [number, number, number] {
  const y = Math.ceil(count / mostPerDimension);
  return [Math.ceil(count / y), y, 1];
}

/**
 * Launches of at most `mostOperations` each, or of one workgroup if that has more. Each workgroup computes what it would in the
 * whole launch, so the results are the same bits. A launch that does not say its operations is not divided.
 */
export function divide<T extends Divisible>(launch: T, mostOperations: number, mostPerDimension: number): readonly T[] {
  const { operations = 0, params } = launch;
  if (operations <= mostOperations) return [launch];
  const groups = params['end_group'] as number;
  const size = Math.max(1, Math.floor((groups * mostOperations) / operations));
  return Array.from({ length: Math.ceil(groups / size) }, (_, i) => {
    const [first, end] = [i * size, Math.min(groups, (i + 1) * size)];
    return {
      ...launch,
      params: { ...params, first_group: first, end_group: end },
      workgroups: fold(end - first, mostPerDimension),
      operations: (operations * (end - first)) / groups,
    };
  });
}
