/** The parameters that optimisers, and functions that work with gradients, take. */
import { ArgumentError } from '../gpu/errors.ts';
import { checkFloat, describe } from '../ops/internal/check.ts';
import { Tensor } from '../tensor/tensor.ts';

/** As `module.parameters()` or, with names, `module.stateDict()` returns them. */
export type OptimiserParameters = readonly Tensor[] | Readonly<Record<string, Tensor>>;

/**
 * Parameters by name, or by number for a list. A parameter with two names appears under the first.
 *
 * @throws ArgumentError unless there is at least one, and all are float tensors of one device and neither views nor results
 */
export function checkParameters(call: string, parameters: OptimiserParameters): ReadonlyMap<string, Tensor> {
  if (parameters === null || typeof parameters !== 'object' || parameters instanceof Tensor) {
    throw new ArgumentError(`${call}: parameters must be an array or a record of tensors, got ${describe(parameters)}`);
  }
  const named = new Map<string, Tensor>();
  const seen = new Set<unknown>();
  for (const [name, tensor] of Object.entries(parameters as Readonly<Record<string, Tensor>>)) {
    checkFloat(call, `parameter '${name}'`, tensor);
    if (seen.has(tensor)) continue;
    seen.add(tensor);
    if (tensor.origin?.isLeaf === false || !tensor.isContiguous || tensor.offset !== 0) {
      throw new ArgumentError(
        `${call}: parameter '${name}' must be a tensor of its own, got a view or the result of a recorded call`,
      );
    }
    const [first] = named.values();
    if (first && tensor.device !== first.device) {
      throw new ArgumentError(
        `${call}: parameter '${name}' must be on the others' device, got a tensor of another device`,
      );
    }
    named.set(name, tensor);
  }
  if (named.size === 0) throw new ArgumentError(`${call}: parameters must be at least one tensor, got none`);
  return named;
}

/** @throws ArgumentError unless the number is finite and at least 0 */
export function checkAmount(call: string, name: string, value: unknown): asserts value is number {
  if (typeof value === 'number' && value >= 0 && Number.isFinite(Math.fround(value))) return;
  throw new ArgumentError(`${call}: ${name} must be a finite number of at least 0, got ${describe(value)}`);
}
