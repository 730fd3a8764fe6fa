import type { FloatDType } from '../tensor/dtype.ts';

/** Host twin of parts/optimiser: one step for one parameter. */
export interface UpdateProblem {
  /** The call's name, for errors. */
  readonly op: string;
  /** Of the parameter and its gradient, which lie row-major from their storages' starts. */
  readonly dtype: FloatDType;
  /** Elements that the parameter takes, the padding of float16 rows included. */
  readonly size: number;
  /** Its row of the settings. */
  readonly parameter: number;
}

export const WORKGROUP = 256;

/** What the uniforms of the kernels begin with. */
export function updateParams({ size, parameter }: UpdateProblem) {
  return { quads: Math.ceil(size / 4), size, parameter };
}

export function updateGroups({ size }: UpdateProblem): number {
  return Math.ceil(size / 4 / WORKGROUP);
}
