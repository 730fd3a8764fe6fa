/** What `npm test` leaves to `npm run test:matrix`, which sets the variable (run.mjs). */
import { describe } from 'vitest';

export const IS_MATRIX = import.meta.env['WEBGPU_ATTENTION_MATRIX'] === '1';

/** The cases that `npm test` tries, of all those that the matrix tries. */
export function narrow<T>(few: readonly T[], all: readonly T[]): readonly T[] {
  return IS_MATRIX ? all : few;
}

/** A `describe` of the matrix alone. */
export const describeInMatrix: (name: string, tests: () => void) => void = IS_MATRIX ? describe : () => {};
