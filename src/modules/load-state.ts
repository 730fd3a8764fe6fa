/** State dicts, of modules, of optimisers and of a scaler: what is loaded from them. */
import { noGrad } from '../autograd/tape.ts';
import { ArgumentError, LoadError } from '../gpu/errors.ts';
import type { Device } from '../tensor/device.ts';
import type { DType } from '../tensor/dtype.ts';
import { formatShape, type Shape } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { describe } from '../ops/internal/check.ts';
import { copyInto } from '../ops/internal/copy-into.ts';

export type StateDict = Readonly<Record<string, Tensor>>;

/** What a state dict is to hold under a name. */
export interface StateEntry {
  readonly device: Device;
  readonly shape: Shape;
  readonly dtypes: readonly DType[];
  /** Of entries of one group there may be none. */
  readonly group?: string;
}

/** @throws LoadError that lists all that is missing, unexpected or does not fit */
export function checkState(call: string, dict: StateDict, entries: ReadonlyMap<string, StateEntry>): void {
  if (dict === null || typeof dict !== 'object' || dict instanceof Tensor) {
    throw new ArgumentError(`${call}: the state must be a record of tensors, got ${describe(dict)}`);
  }
  const begun = new Set(Object.keys(dict).map((name) => entries.get(name)?.group));
  const problems: string[] = [];
  for (const [name, entry] of entries) {
    const isGiven = Object.hasOwn(dict, name);
    const isWanted = entry.group === undefined || begun.has(entry.group);
    const problem = isGiven ? misfit(dict[name], entry) : isWanted ? 'is missing' : undefined;
    if (problem) problems.push(`'${name}' ${problem}`);
  }
  for (const name of Object.keys(dict)) if (!entries.has(name)) problems.push(`'${name}' is unexpected`);
  if (problems.length > 0) throw new LoadError(`${call}: ${problems.join('; ')}`);
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
