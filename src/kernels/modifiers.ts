/**
 * What a user's score and mask modifiers become in a kernel: texts for the marked functions `score_mod` and `mask_mod`,
 * and uniform fields.
 *
 * A modifier reads what it captured through functions under the names that the user chose, so those functions have to be
 * written here; no other WGSL is. Shapes, places and numbers are uniforms: another tensor compiles nothing new.
 */
import { ArgumentError } from '../gpu/errors.ts';
import type { Insertion } from '../gpu/shader.ts';
import type { Signature, UserFunction } from '../gpu/user-function.ts';
import type { DType } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';

export type ModifierKind = 'scoreMod' | 'maskMod';

export const SIGNATURES: Readonly<Record<ModifierKind, Signature>> = {
  scoreMod: { name: 'score_mod', parameters: ['f32', 'u32', 'u32', 'u32', 'u32'], result: 'f32' },
  maskMod: { name: 'mask_mod', parameters: ['u32', 'u32', 'u32', 'u32'], result: 'bool' },
};

/** Of what a score modifier may bring, ∂ score_mod / ∂ score. */
export const DERIVATIVE: Signature = {
  ...SIGNATURES.scoreMod,
  name: 'score_mod_derivative',
  kernelName: 'd_score_mod',
};

/** A checked modifier without its tensors. */
export interface ModifierSource {
  readonly kind: ModifierKind;
  readonly code: UserFunction;
  /** Of a score modifier. */
  readonly derivative?: UserFunction;
  readonly tensors: readonly { readonly name: string; readonly dtype: DType; readonly shape: Shape }[];
  readonly numbers: readonly { readonly name: string; readonly value: number }[];
}

/** The modifiers of one call. */
export interface Modifiers {
  readonly insertions: readonly Insertion[];
  /** Those of the gradient's kernels, which a derivative is among. */
  readonly gradientInsertions: readonly Insertion[];
  readonly hasScoreMod: boolean;
  readonly hasDerivative: boolean;
  readonly hasMaskMod: boolean;
  /** Of captured tensors, in the order of their slots. */
  readonly shapes: readonly Shape[];
  readonly numbers: readonly number[];
}

export const MAX_CAPTURED_TENSORS = 4;
export const MAX_CAPTURED_AXES = 4;
export const MAX_CAPTURED_NUMBERS = 8;

/** @throws ArgumentError where the modifiers capture more than a kernel has room for */
export function planModifiers(op: string, sources: readonly ModifierSource[]): Modifiers {
  const shapes: Shape[] = [];
  const numbers: number[] = [];
  const derivatives: Insertion[] = [];
  const insertions = sources.map((source) => {
    const { kind, code, derivative, tensors, numbers: captured } = source;
    const { name } = SIGNATURES[kind];
    const insertion = insertionOf(name, code, source, shapes.length, numbers.length);
    if (derivative) {
      derivatives.push(insertionOf(DERIVATIVE.kernelName!, derivative, source, shapes.length, numbers.length));
    }
    shapes.push(...tensors.map(({ shape }) => shape));
    numbers.push(...captured.map(({ value }) => value));
    return insertion;
  });
  const refuse = (what: string, most: number, got: number) => {
    const names = sources.map(({ kind }) => kind).join(' and ');
    throw new ArgumentError(`${op}: ${names} must capture at most ${most} ${what}, got ${got}`);
  };
  if (shapes.length > MAX_CAPTURED_TENSORS) refuse('tensors', MAX_CAPTURED_TENSORS, shapes.length);
  if (numbers.length > MAX_CAPTURED_NUMBERS) refuse('numbers', MAX_CAPTURED_NUMBERS, numbers.length);
  return {
    insertions,
    gradientInsertions: [...insertions, ...derivatives],
    hasScoreMod: sources.some(({ kind }) => kind === 'scoreMod'),
    hasDerivative: derivatives.length > 0,
    hasMaskMod: sources.some(({ kind }) => kind === 'maskMod'),
    shapes,
    numbers,
  };
}

/** A function's text with what reads its captures, whose slots begin at `firstTensor` and `firstNumber`. */
function insertionOf(
  name: string,
  { text, explain }: UserFunction,
  { tensors, numbers }: ModifierSource,
  firstTensor: number,
  firstNumber: number,
): Insertion {
  const accessors = [
    ...tensors.map((tensor, i) =>
      tensorAccessor(`${name}_${tensor.name}`, firstTensor + i, tensor.dtype, tensor.shape.length),
    ),
    ...numbers.map((number, i) => numberAccessor(`${name}_${number.name}`, firstNumber + i)),
  ];
  return { name, text: [text, ...accessors].join('\n'), explain };
}

/** Uniform fields that accessors read; `offsets` are the words of `table` at which the captured tensors begin. */
export function modifierParams({ shapes, numbers }: Partial<Modifiers> = {}, offsets: readonly number[] = []) {
  const fill = (values: readonly number[], count: number, rest: number) =>
    Array.from({ length: count }, (_, i) => values[i] ?? rest);
  return {
    capture_offsets: fill(offsets, MAX_CAPTURED_TENSORS, 0),
    capture_shapes: Array.from({ length: MAX_CAPTURED_TENSORS }, (_, slot) =>
      fill(shapes?.[slot] ?? [], MAX_CAPTURED_AXES, 1),
    ).flat(),
    capture_numbers: fill(numbers ?? [], MAX_CAPTURED_NUMBERS, 0),
  };
}

const TYPES: Readonly<Record<DType, string>> = {
  float32: 'f32',
  float16: 'f32',
  int32: 'i32',
  uint32: 'u32',
  bool: 'bool',
};

/** From the word at which the tensor begins, and `at`, the element. */
const DECODE: Readonly<Record<DType, string>> = {
  float32: 'bitcast<f32>(table[first + at])',
  float16: 'unpack2x16float(table[first + (at >> 1u)])[at & 1u]',
  int32: 'bitcast<i32>(table[first + at])',
  uint32: 'table[first + at]',
  bool: '((table[first + (at >> 2u)] >> (8u * (at & 3u))) & 0xffu) != 0u',
};

/** Reads the element at an index; one past an axis's end is its last. float16 rows are of an even length. */
function tensorAccessor(name: string, slot: number, dtype: DType, rank: number): string {
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  const index = axes.map((axis) => `min(i${axis}, shape[${axis}] - 1u)`);
  const row = rank > 1 && dtype === 'float16' ? `((shape[${rank - 1}] + 1u) & ~1u)` : `shape[${rank - 1}]`;
  const at = axes.reduce((outer, axis) => {
    if (axis === 0) return index[0];
    return `(${outer}) * ${axis === rank - 1 ? row : `shape[${axis}]`} + ${index[axis]}`;
  }, '');
  return [
    `fn ${name}(${axes.map((axis) => `i${axis}: u32`).join(', ')}) -> ${TYPES[dtype]} {`,
    `  let shape = params.capture_shapes[${slot}];`,
    `  let first = params.capture_offsets[${slot}];`,
    `  let at = ${at};`,
    `  return ${DECODE[dtype]};`,
    `}`,
  ].join('\n');
}

function numberAccessor(name: string, slot: number): string {
  return `fn ${name}() -> f32 { return params.capture_numbers[${Math.floor(slot / 4)}][${slot % 4}]; }`;
}
