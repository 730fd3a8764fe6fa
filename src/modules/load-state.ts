/** Loads state dicts into modules, optimisers and a scaler. */
import { noGrad } from '../autograd/tape.ts';
import { ArgumentError, LoadError, listFirst, shorten } from '../gpu/errors.ts';
import type { Device } from '../tensor/device.ts';
import type { DType } from '../tensor/dtype.ts';
import { formatShape, type Shape } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { describe } from '../ops/internal/check.ts';
import { copyInto } from '../ops/internal/copy.ts';

export type StateDict = Readonly<Record<string, Tensor>>;

/** What a state dict must hold under a name. */
export interface StateEntry {
  readonly device: Device;
  readonly shape: Shape;
  readonly dtypes: readonly DType[];
  /** The entries of a group may all be missing. */
  readonly group?: string;
}

/** @throws ArgumentError unless it is a record */
export function checkRecord(call: string, dict: StateDict): void {
  if (dict === null || typeof dict !== 'object' || dict instanceof Tensor) {
    throw new ArgumentError(`${call}: the state must be a record of tensors, got ${describe(dict)}`);
  }
}

/** @throws LoadError that lists the first names that are missing, unexpected or do not fit */
export function checkState(call: string, dict: StateDict, entries: ReadonlyMap<string, StateEntry>): void {
  checkRecord(call, dict);
  const begun = new Set(Object.keys(dict).map((name) => entries.get(name)?.group));
  const problems = listProblems<unknown, StateEntry>(dict, entries, (given, entry) => {
    if (given !== undefined) return misfit(given, entry);
    return entry.group === undefined || begun.has(entry.group) ? 'is missing' : undefined;
  });
  if (problems.length > 0) throw new LoadError(`${call}: ${listFirst(problems)}`);
}

/**
 * Compares the values given by name with the expected entries.
 *
 * @param problemOf what is wrong with a value or with its absence, if anything
 * @returns a phrase for each name that is missing, does not fit or is unexpected
 */
export function listProblems<Value, Entry>(
  given: Readonly<Record<string, Value>>,
  entries: ReadonlyMap<string, Entry>,
  problemOf: (value: Value | undefined, entry: Entry) => string | undefined,
): string[] {
  const problems: string[] = [];
  for (const [name, entry] of entries) {
    const problem = problemOf(Object.hasOwn(given, name) ? given[name] : undefined, entry);
    if (problem) problems.push(`'${name}' ${problem}`);
  }
  for (const name of Object.keys(given)) {
    if (!entries.has(name)) problems.push(`'${shorten(name)}' is unexpected`);
  }
  return problems;
}

function misfit(given: unknown, { device, shape, dtypes }: StateEntry): string | undefined {
  if (!(given instanceof Tensor)) return `must be a Tensor, got ${describe(given)}`;
  if (given.disposed) return `must not be disposed, got a disposed tensor of ${formatShape(given.shape)}`;
  if (formatShape(given.shape) !== formatShape(shape)) {
    return `must have shape ${formatShape(shape)}, got ${formatShape(given.shape)}`;
  }
  if (!dtypes.includes(given.dtype)) return `must be ${dtypes.join(' or ')}, got ${given.dtype}`;
  if (given.device !== device) return 'must be on the same device, got a tensor of another device';
  return undefined;
}

/** Copies a checked state dict into the tensors of these names. */
export function copyState(call: string, dict: StateDict, targets: Iterable<readonly [name: string, Tensor]>): void {
  noGrad(() =>
    copyInto(
      call,
      Array.from(targets, ([name, target]) => [dict[name], target] as const),
    ),
  );
}
