import { ArgumentError } from '../gpu/errors.ts';
import { VALUE_DIM_BUCKETS } from '../kernels/attention.ts';
import { nearest } from '../tensor/options.ts';
import type { Traits } from '../tensor/traits.ts';
import type { TunableOp } from '../tensor/tuning.ts';
import { TUNABLE_OPS, tuningProblems } from './problems.ts';

/** The kernels that `createDevice({ kernels })` asks for, each one that the device has. */
export function checkPinned(kernels: unknown, traits: Traits): Map<TunableOp, string> {
  if (kernels === undefined) return new Map();
  if (kernels === null || typeof kernels !== 'object' || Array.isArray(kernels)) {
    throw new ArgumentError(
      `createDevice: kernels must be an object of ops and kernels, got ${JSON.stringify(kernels)}`,
    );
  }
  const given = Object.entries(kernels).filter(([, name]) => name !== undefined);
  return new Map(given.map(([op, name]) => [checkOp(op), checkKernel(op, name, kernelNames(op, traits))]));
}

function checkOp(given: string): TunableOp {
  const op = TUNABLE_OPS.find((known) => known === given);
  if (op) return op;
  throw new ArgumentError(
    `createDevice: kernels must be of ${oneOf(TUNABLE_OPS)}, got '${given}'${hint(given, TUNABLE_OPS)}`,
  );
}

function checkKernel(op: string, given: unknown, known: readonly string[]): string {
  const kernel = known.find((name) => name === given);
  if (kernel) return kernel;
  throw new ArgumentError(
    `createDevice: the kernel of ${op} must be ${oneOf(known)} on this device, ` +
      `got '${String(given)}'${hint(String(given), known)}`,
  );
}

/** The kernels that the device has for at least some of the op's problems. */
export function kernelNames(op: string, traits: Traits): string[] {
  const problems = tuningProblems(traits, { headDims: VALUE_DIM_BUCKETS }).filter((problem) => problem.op === op);
  return [...new Set(problems.flatMap(({ kernels }) => kernels))];
}

function oneOf(names: readonly string[]): string {
  return names.length === 1 ? names[0] : `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
}

function hint(given: string, known: readonly string[]): string {
  const near = nearest(given, known);
  return near ? ` (did you mean ${near}?)` : '';
}
