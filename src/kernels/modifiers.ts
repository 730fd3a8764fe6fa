/**
 * Turns a user's score and mask modifiers into texts for a kernel's marked functions `score_mod` and `mask_mod`, and into
 * uniform fields.
 *
 * A modifier reads its captures through functions whose names the user chose, so those functions are generated here. No other
 * WGSL is generated. Shapes, places and numbers are uniforms, so that another tensor compiles nothing new.
 */
import { ArgumentError } from '../gpu/errors.ts';
import type { UniformValues } from '../gpu/uniform.ts';
import type { Insertion } from '../gpu/shader.ts';
import type { Signature, UserFunction } from '../gpu/user-function/check-function.ts';
import type { DType } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';

export type ModifierKind = 'scoreMod' | 'maskMod';

/** Each limit is far above what a function of one score needs. Arguments are positions: batch, head, query and key. */
const LIMITS: Signature['limits'] = {
  argument: 2 ** 29,
  argumentRounds: 4096,
  rounds: 65_536,
  tokens: 16_384,
  givenTokens: 32, // of a function that reads a capture
  bytes: 1024,
};

export const SIGNATURES: Readonly<Record<ModifierKind, Signature>> = {
  scoreMod: { name: 'score_mod', parameters: ['f32', 'u32', 'u32', 'u32', 'u32'], result: 'f32', limits: LIMITS },
  maskMod: { name: 'mask_mod', parameters: ['u32', 'u32', 'u32', 'u32'], result: 'bool', limits: LIMITS },
};

/** ∂ score_mod / ∂ score, which a score modifier may have. */
export const DERIVATIVE: Signature = {
  ...SIGNATURES.scoreMod,
  name: 'score_mod_derivative',
  kernelName: 'd_score_mod',
};

/** A checked modifier; `T` are the tensors that it captured. */
export interface ModifierSource<T extends CapturedTensor> {
  readonly kind: ModifierKind;
  readonly code: UserFunction;
  /** Derivative of a score modifier. */
  readonly derivativeCode?: UserFunction;
  readonly tensors: readonly (readonly [name: string, tensor: T])[];
  readonly numbers: readonly (readonly [name: string, value: number])[];
}

interface CapturedTensor {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** The modifiers of one call. */
export interface PlannedModifiers<T> {
  readonly insertions: readonly Insertion[];
  /** Further insertions, for the gradient's kernels only. */
  readonly derivatives: readonly Insertion[];
  /** Captured tensors, in the order of their numbers. */
  readonly captures: readonly T[];
  /** The uniform struct CaptureParams, given the words of `table` at which the captured tensors begin. */
  readonly fields: (offsets: readonly number[]) => UniformValues;
}

export const MAX_CAPTURED_TENSORS = 4;
export const MAX_CAPTURED_AXES = 4;
export const MAX_CAPTURED_NUMBERS = 8;

/** @throws ArgumentError if the modifiers capture more than a kernel has room for */
export function planModifiers<T extends CapturedTensor>(
  op: string,
  sources: readonly ModifierSource<T>[],
): PlannedModifiers<T> {
  const captures: T[] = [];
  const numbers: number[] = [];
  const derivatives: Insertion[] = [];
  const insertions = sources.map((source) => {
    const { kind, code, derivativeCode } = source;
    const firsts = [captures.length, numbers.length] as const;
    if (derivativeCode) derivatives.push(insertionOf(DERIVATIVE.kernelName!, derivativeCode, source, ...firsts));
    captures.push(...source.tensors.map(([, tensor]) => tensor));
    numbers.push(...source.numbers.map(([, value]) => value));
    return insertionOf(SIGNATURES[kind].name, code, source, ...firsts);
  });
  const refuse = (what: string, most: number, got: number) => {
    const names = sources.map(({ kind }) => kind).join(' and ');
    throw new ArgumentError(`${op}: ${names} must capture at most ${most} ${what}, got ${got}`);
  };
  if (captures.length > MAX_CAPTURED_TENSORS) refuse('tensors', MAX_CAPTURED_TENSORS, captures.length);
  if (numbers.length > MAX_CAPTURED_NUMBERS) refuse('numbers', MAX_CAPTURED_NUMBERS, numbers.length);
  const shapes = captures.map(({ shape }) => shape);
  return { insertions, derivatives, captures, fields: (offsets) => captureFields(shapes, numbers, offsets) };
}

/** A function's text with the readers of its captures, which are numbered from `firstTensor` and `firstNumber` on. */
function insertionOf(
  name: string,
  { text, explain }: UserFunction,
  { tensors, numbers }: ModifierSource<CapturedTensor>,
  firstTensor: number,
  firstNumber: number,
): Insertion {
  const accessors = [
    ...tensors.map(([captured, { dtype, shape }], i) =>
      tensorAccessor(`${name}_${captured}`, firstTensor + i, dtype, shape.length),
    ),
    ...numbers.map(([captured], i) => numberAccessor(`${name}_${captured}`, firstNumber + i)),
  ];
  return { name, text: [text, ...accessors].join('\n'), explain };
}

/** The uniform struct CaptureParams; `offsets` are the words of `table` at which the captured tensors begin. */
export function captureFields(shapes: readonly Shape[], numbers: readonly number[], offsets: readonly number[]) {
  const fill = (values: readonly number[], count: number, rest: number) =>
    Array.from({ length: count }, (_, i) => values[i] ?? rest);
  return {
    offsets: fill(offsets, MAX_CAPTURED_TENSORS, 0),
    shapes: Array.from({ length: MAX_CAPTURED_TENSORS }, (_, index) =>
      fill(shapes[index] ?? [], MAX_CAPTURED_AXES, 1),
    ).flat(),
    numbers: fill(numbers, MAX_CAPTURED_NUMBERS, 0),
  };
}

const TYPES: Readonly<Record<DType, string>> = {
  float32: 'f32',
  float16: 'f32',
  int32: 'i32',
  uint32: 'u32',
  bool: 'bool',
};

/** Reads element `at` of a tensor that begins at the given word. */
const DECODE: Readonly<Record<DType, string>> = {
  float32: 'bitcast<f32>(table[first + at])',
  float16: 'unpack2x16float(table[first + (at >> 1u)])[at & 1u]',
  int32: 'bitcast<i32>(table[first + at])',
  uint32: 'table[first + at]',
  bool: '((table[first + (at >> 2u)] >> (8u * (at & 3u))) & 0xffu) != 0u',
};

/** Reads the element at an index; one past an axis's end is its last. float16 rows are of an even length. */
function tensorAccessor(name: string, number: number, dtype: DType, rank: number): string {
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  const index = axes.map((axis) => `min(i${axis}, shape[${axis}] - 1u)`);
  const row = rank > 1 && dtype === 'float16' ? `((shape[${rank - 1}] + 1u) & ~1u)` : `shape[${rank - 1}]`;
  const at = axes.reduce((outer, axis) => {
    if (axis === 0) return index[0];
    return `(${outer}) * ${axis === rank - 1 ? row : `shape[${axis}]`} + ${index[axis]}`;
  }, '');
  return [
    `fn ${name}(${axes.map((axis) => `i${axis}: u32`).join(', ')}) -> ${TYPES[dtype]} {`,
    `  let shape = params.options.captures.shapes[${number}];`,
    `  let first = params.options.captures.offsets[${number}];`,
    `  let at = ${at};`,
    `  return ${DECODE[dtype]};`,
    `}`,
  ].join('\n');
}

function numberAccessor(name: string, index: number): string {
  return `fn ${name}() -> f32 { return params.options.captures.numbers[${Math.floor(index / 4)}][${index % 4}]; }`;
}
