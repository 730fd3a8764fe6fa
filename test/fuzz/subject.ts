/** What is fuzzed: an op in one direction, and the kernels that it may take. */
import fc from 'fast-check';
import type { Device, TunableOp } from '../../src/index.ts';

export type Direction = 'forward' | 'backward';

/** The kernel that a device takes by itself. */
export const OWN_CHOICE = 'default';

export interface Subject {
  readonly op: string;
  readonly direction: Direction;
  /** The op that kernels are pinned for. */
  readonly pins?: TunableOp;
  /** Kernels to pin, by the library's own lists, or the device's own choice alone. */
  kernels(device: Device): readonly string[];
  /** Random cases for a kernel. What is compiled depends on `version` alone, as far as can be, since that is what takes long. */
  cases(kernel: string, version: number): fc.Arbitrary<unknown>;
  /** Throws unless the op refuses the case with an ArgumentError, or gives what the float64 reference gives. */
  check(device: Device, given: unknown): Promise<Verdict>;
}

export type Verdict = 'right' | 'refused';

/** A subject whose cases have a type. */
export function subject<C>(
  given: Omit<Subject, 'cases' | 'check'> & {
    cases(kernel: string, version: number): fc.Arbitrary<C>;
    check(device: Device, given: C): Promise<Verdict>;
  },
): Subject {
  return { ...given, check: (device, c) => given.check(device, c as C) };
}

/** The value or nothing, with shares of `one` and `of − one` in `of`. */
export function some<T>(value: fc.Arbitrary<T>, one = 1, of = 2): fc.Arbitrary<T | undefined> {
  return fc.oneof({ weight: of - one, arbitrary: fc.constant(undefined) }, { weight: one, arbitrary: value });
}

/** Tenths, evenly spread: fc.double takes most of its numbers below 1e-100. */
export function tenths(min: number, max: number): fc.Arbitrary<number> {
  return fc.integer({ min: 10 * min, max: 10 * max }).map((value) => value / 10);
}
