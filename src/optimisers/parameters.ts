/** The parameters that optimisers, and functions that work with gradients, take. */
import { ArgumentError } from '../gpu/errors.ts';
import { checkFloat, describe } from '../ops/internal/check.ts';
import { Tensor } from '../tensor/tensor.ts';

/** As `module.parameters()` or, with names, `module.stateDict()` returns them. */
export type OptimiserParameters = readonly Tensor[] | Readonly<Record<string, Tensor>>;

/** Parameters with options of their own; what an option leaves out is the optimiser's. */
export type ParameterGroup<Options> = { readonly params: OptimiserParameters } & Readonly<Options>;

/**
 * The groups that an optimiser is given: one of all parameters, or several. Names tell parameters apart in all groups together:
 * those of a list are numbered on from group to group.
 *
 * @throws ArgumentError for a group without parameters, and a parameter or a name in two groups
 */
export function groupsOf<Options>(
  call: string,
  given: OptimiserParameters | readonly ParameterGroup<Options>[],
): { readonly named: ReadonlyMap<string, Tensor>; readonly options: Partial<Options> }[] {
  if (!isGrouped(given)) return [{ named: checkParameters(call, given), options: {} }];
  const seen = new Set<unknown>();
  const names = new Set<string>();
  let first: Tensor | undefined;
  return given.map(({ params, ...options }) => {
    const own = checkParameters(call, params);
    const named = new Map<string, Tensor>();
    for (const [key, tensor] of own) {
      const name = Array.isArray(params) ? String(names.size) : key;
      first ??= tensor;
      if (tensor.device !== first.device) {
        throw new ArgumentError(
          `${call}: parameter '${name}' must be on the others' device, got a tensor of another device`,
        );
      }
      if (seen.has(tensor)) throw new ArgumentError(`${call}: parameter '${name}' must be in one group, got it in two`);
      if (names.has(name)) throw new ArgumentError(`${call}: the name '${name}' must be in one group, got it in two`);
      seen.add(tensor);
      names.add(name);
      named.set(name, tensor);
    }
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    return { named, options: Object.fromEntries(given) as Partial<Options> };
  });
}

function isGrouped<Options>(
  given: OptimiserParameters | readonly ParameterGroup<Options>[],
): given is readonly ParameterGroup<Options>[] {
  const isGroup = (item: unknown): boolean => typeof item === 'object' && item !== null && 'params' in item;
  return Array.isArray(given) && given.length > 0 && given.every(isGroup);
}

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
