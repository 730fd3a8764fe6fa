import { ArgumentError } from '../gpu/errors.ts';
import { LOOKALIKE, looksLikeTensor, Tensor } from './tensor.ts';

/**
 * The tensors in a value: itself, or what arrays, Maps, Sets, and properties of objects of any class lead to, in any depth and
 * in circles. It does not see into closures, private fields, promises and weak references, and calls no getters.
 *
 * @throws ArgumentError, in the name of `call`, for what pretends to be a tensor, or throws when it is looked at
 */
export function tensorsIn(call: string, result: unknown): Set<Tensor> {
  const found = new Set<Tensor>();
  const seen = new Set<object>();
  // a list, not recursion: a structure may be deeper than the stack
  const due = [result];
  while (due.length > 0) {
    const value = due.pop();
    if (typeof value !== 'object' || value === null || seen.has(value)) continue;
    seen.add(value);
    if (value instanceof Tensor) found.add(value);
    else for (const part of partsOf(call, value)) if (typeof part === 'object') due.push(part);
  }
  return found;
}

function partsOf(call: string, value: object): readonly unknown[] {
  try {
    if (looksLikeTensor(value)) {
      throw new ArgumentError(`${call}: what work returns must hold a Tensor itself, got ${LOOKALIKE}`);
    }
    if (ArrayBuffer.isView(value)) return [];
    // an array may be long, and its elements are no getters
    const parts = Array.isArray(value) ? Object.values(value) : propertiesOf(value);
    if (value instanceof Map) value.forEach((item, key) => parts.push(key, item));
    if (value instanceof Set) value.forEach((item) => parts.push(item));
    return parts;
  } catch (error) {
    if (error instanceof ArgumentError) throw error;
    throw new ArgumentError(
      `${call}: what work returns must be something to look through for tensors, got an object that throws: ${String(error)}`,
      { cause: error },
    );
  }
}

/** Values of an object's own properties, those under symbols too. Getters are not called: they may make tensors. */
function propertiesOf(value: object): unknown[] {
  return Reflect.ownKeys(value).map((key) => Reflect.getOwnPropertyDescriptor(value, key)?.value as unknown);
}
