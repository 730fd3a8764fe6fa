/** Checks that ops share. Each throws one sentence that names the op, the argument, what was expected and what came. */
import { ArgumentError, shorten } from '../../gpu/errors.ts';
import { formatShape } from '../../tensor/shape.ts';
import { LOOKALIKE, looksLikeTensor, Tensor, type FloatTensor } from '../../tensor/tensor.ts';

export function checkTensor(op: string, name: string, value: unknown): asserts value is Tensor {
  if (!(value instanceof Tensor)) {
    throw new ArgumentError(`${op}: ${name} must be a Tensor, got ${describe(value)}`);
  }
  if (value.disposed) {
    throw new ArgumentError(
      `${op}: ${name} must not be disposed, got a disposed tensor of ${formatShape(value.shape)}`,
    );
  }
  value.device.assertUsable();
}

export function checkFloat(op: string, name: string, value: unknown): asserts value is FloatTensor {
  checkTensor(op, name, value);
  if (value.dtype !== 'float32' && value.dtype !== 'float16') {
    throw new ArgumentError(`${op}: ${name} must be float32 or float16, got ${value.dtype}`);
  }
}

export function checkIntegers(op: string, name: string, value: unknown): asserts value is Tensor {
  checkTensor(op, name, value);
  if (value.dtype !== 'int32' && value.dtype !== 'uint32') {
    throw new ArgumentError(`${op}: ${name} must be int32 or uint32, got ${value.dtype}`);
  }
}

/** All have the first tensor's device and dtype. Absent ones are skipped. */
export function checkAlike(op: string, first: string, tensors: Readonly<Record<string, Tensor | undefined>>): void {
  const reference = tensors[first]!;
  for (const [name, tensor] of Object.entries(tensors)) {
    if (!tensor) continue;
    checkSameDevice(op, first, reference, name, tensor);
    if (tensor.dtype !== reference.dtype) {
      throw new ArgumentError(`${op}: ${name} must have ${first}'s dtype ${reference.dtype}, got ${tensor.dtype}`);
    }
  }
}

export function checkSameDevice(op: string, first: string, reference: Tensor, name: string, tensor: Tensor): void {
  if (tensor.device !== reference.device) {
    throw new ArgumentError(`${op}: ${name} must be on ${first}'s device, got a tensor of another device`);
  }
}

export function checkFinite(op: string, name: string, value: unknown): asserts value is number {
  if (typeof value !== 'number' || !Number.isFinite(Math.fround(value))) {
    throw new ArgumentError(`${op}: ${name} must be a finite number, got ${describe(value)}`);
  }
}

export function checkCount(op: string, name: string, value: unknown, least = 1): asserts value is number {
  if (!Number.isSafeInteger(value) || (value as number) < least) {
    throw new ArgumentError(`${op}: ${name} must be an integer of ${least} or more, got ${describe(value)}`);
  }
}

export function checkPositive(op: string, name: string, value: unknown): asserts value is number {
  if (!Number.isInteger(value) || (value as number) < 1) {
    throw new ArgumentError(`${op}: ${name} must be a positive integer, got ${describe(value)}`);
  }
}

export function checkChoice(op: string, name: string, value: unknown, choices: readonly string[]): void {
  if (!choices.includes(value as string)) {
    const list = choices.map((choice) => `'${choice}'`).join(' or ');
    throw new ArgumentError(`${op}: ${name} must be ${list}, got ${describe(value)}`);
  }
}

export function checkProbability(op: string, name: string, value: unknown): asserts value is number {
  if (typeof value !== 'number' || !(value >= 0 && value <= 1)) {
    throw new ArgumentError(`${op}: ${name} must be a number from 0 to 1, got ${describe(value)}`);
  }
}

/** A seed of random numbers; undefined leaves the choice to the device. */
export function checkSeed(op: string, name: string, value: unknown): asserts value is number | undefined {
  if (value !== undefined && !(Number.isSafeInteger(value) && (value as number) >= 0)) {
    throw new ArgumentError(`${op}: ${name} must be a whole number from 0 to 2^53 - 1, got ${describe(value)}`);
  }
}

export function checkBoolean(op: string, name: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'boolean') {
    throw new ArgumentError(`${op}: ${name} must be true or false, got ${describe(value)}`);
  }
}

/** Most items of a list that `describe` shows. */
const SHOWN_ITEMS = 8;

/** What came, for a message; short, whatever it is. */
export function describe(value: unknown): string {
  return describeNested(value, 0);
}

function describeNested(value: unknown, depth: number): string {
  if (value instanceof Tensor)
    return `${value.dtype === 'int32' ? 'an' : 'a'} ${value.dtype} tensor of ${formatShape(value.shape)}`;
  if (typeof value === 'string') return `'${shorten(value)}'`;
  if (typeof value === 'function') return 'a JavaScript function';
  if (value === null || typeof value !== 'object') return shorten(String(value));
  if (looksLikeTensor(value)) return LOOKALIKE;
  if (!Array.isArray(value)) return shorten(String(value.constructor?.name ?? 'an object'));
  if (depth > 1) return 'a list';
  const items = value.slice(0, SHOWN_ITEMS).map((item) => describeNested(item, depth + 1));
  const more = value.length - SHOWN_ITEMS;
  return `[${shorten(items.join(', '))}${more > 0 ? `, … and ${more} more` : ''}]`;
}
