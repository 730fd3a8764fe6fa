/**
 * Functions of one score, written in WGSL and compiled into the attention kernels, as in PyTorch's FlexAttention (Dong et
 * al., "Flex Attention: A Programming Model for Generating Optimized Attention Kernels", 2024).
 */
import { ArgumentError } from '../../gpu/errors.ts';
import { checkFunction, isReserved, type UserFunction } from '../../gpu/user-function/check-function.ts';
import {
  DERIVATIVE,
  MAX_CAPTURED_AXES,
  MAX_CAPTURED_NUMBERS,
  MAX_CAPTURED_TENSORS,
  SIGNATURES,
  type ModifierKind,
} from '../../kernels/modifiers.ts';
import { checkOptions } from '../../tensor/options.ts';
import { formatShape } from '../../tensor/shape.ts';
import { Tensor } from '../../tensor/tensor.ts';
import { checkFinite, checkTensor, describe } from '../internal/check.ts';

/**
 * What a modifier may read besides its arguments, by the names that its source uses: at most four tensors of at most four
 * axes, and at most eight numbers.
 */
export type Captures = Readonly<Record<string, Tensor | number>>;

/** `scoreMod` and `maskMod` make it. It is frozen. It borrows its tensors, so do not dispose them while you use it. */
export class Modifier<K extends ModifierKind = ModifierKind> {
  readonly kind: K;
  readonly source: string;
  readonly captures: Captures;
  /** @internal */
  readonly code: UserFunction;
  /** @internal */
  readonly derivativeCode: UserFunction | undefined;

  /** Not for users. */
  constructor(kind: K, source: string, captures: Captures, code: UserFunction, derivativeCode?: UserFunction) {
    this.kind = kind;
    this.source = source;
    this.captures = captures;
    this.code = code;
    this.derivativeCode = derivativeCode;
    Object.freeze(this);
  }

  /** @internal */
  get tensors(): [name: string, tensor: Tensor][] {
    return Object.entries(this.captures).flatMap(([name, value]) => (value instanceof Tensor ? [[name, value]] : []));
  }

  /** @internal */
  get numbers(): [name: string, value: number][] {
    return Object.entries(this.captures).flatMap(([name, value]) => (typeof value === 'number' ? [[name, value]] : []));
  }
}

export type ScoreMod = Modifier<'scoreMod'>;
export type MaskMod = Modifier<'maskMod'>;

/**
 * A function that changes each scaled score before masks and the softmax, for the option `scoreMod` of the attention ops:
 *
 *     const relative = scoreMod(
 *       `fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
 *          let distance = i32(query) - i32(key);
 *          return score + slope() * bias(head, u32(distance + 64));
 *        }`,
 *       { captures: { bias, slope: 0.5 } },   // bias: a float32 tensor [heads, 129]
 *     );
 *
 * The source is WGSL: the function with these types (its parameters may have any names), and any functions, constants,
 * structs and aliases that it needs. It may use WGSL's types (without f16 and pointers) and numeric functions, its own
 * declarations and its captures. It cannot read anything else, and it cannot write. Every `var` needs an initial value.
 * A loop must have a counter and bounds that are known (`for (var i = 0u; i < 8u; i++)`), so that it ends soon. Rounds, the
 * length of the source with its calls, and arrays have limits: see docs/score-modifiers.md.
 *
 * `head` is the query's head, `query` and `key` are rows of q and of k. To hide a key, use a `maskMod`, not a low score:
 * a result of −∞ counts as the lowest finite one.
 *
 * A captured tensor of rank r is a function of r indices (u32) that gives f32 for float32 and float16, i32, u32 or bool. An
 * index past the end of its axis counts as the last. A captured number is a function without arguments that gives f32.
 * Sources with the same text share a kernel, so a new tensor, shape or number compiles nothing.
 *
 * Gradients of q, k, v, a float mask and sinks need `derivative`: WGSL of
 * `fn score_mod_derivative(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32`, ∂ score_mod / ∂ score for the
 * same arguments, with the same captures. Captured tensors themselves have no gradient.
 *
 * @throws ArgumentError for what the source must not contain, with its line and column. If only the GPU's compiler finds an
 * error (mismatched types), the next wait rejects with a ShaderError that names line and column too.
 */
export function scoreMod(source: string, options: { captures?: Captures; derivative?: string } = {}): ScoreMod {
  checkOptions('scoreMod', options, ['captures', 'derivative']);
  return makeModifier('scoreMod', source, options);
}

/**
 * A function that says which keys a query may attend to, for the option `maskMod` of the attention ops and for
 * `createBlockMask`:
 *
 *     fn mask_mod(batch: u32, head: u32, query: u32, key: u32) -> bool { return query >= key; }
 *
 * Everything else is as for `scoreMod`. A hidden key has no weight, whatever it holds.
 *
 * @throws ArgumentError for what the source must not contain, with its line and column
 */
export function maskMod(source: string, options: { captures?: Captures } = {}): MaskMod {
  checkOptions('maskMod', options, ['captures']);
  return makeModifier('maskMod', source, options);
}

function makeModifier<K extends ModifierKind>(
  kind: K,
  source: string,
  { captures = {}, derivative }: { captures?: Captures; derivative?: string },
): Modifier<K> {
  checkSource(kind, 'source', source);
  checkCaptures(kind, captures);
  const names = Object.keys(captures);
  const code = checkFunction(kind, source, SIGNATURES[kind], names);
  if (derivative === undefined) return new Modifier(kind, source, Object.freeze({ ...captures }), code);
  checkSource(kind, 'derivative', derivative);
  const derivativeCode = checkFunction(`${kind}'s derivative`, derivative, DERIVATIVE, names);
  return new Modifier(kind, source, Object.freeze({ ...captures }), code, derivativeCode);
}

function checkSource(kind: ModifierKind, name: string, source: unknown): void {
  if (typeof source === 'string') return;
  throw new ArgumentError(`${kind}: ${name} must be WGSL as a string, got ${describe(source)}`);
}

function checkCaptures(kind: ModifierKind, captures: Captures): void {
  if (captures === null || typeof captures !== 'object') {
    throw new ArgumentError(`${kind}: captures must be an object of tensors and numbers, got ${describe(captures)}`);
  }
  let [tensors, numbers] = [0, 0];
  for (const [name, value] of Object.entries(captures)) {
    if (!/^[A-Za-z_]\w*$/.test(name) || isReserved(name)) {
      throw new ArgumentError(`${kind}: captures must have names that are valid in WGSL, got '${name}'`);
    }
    if (typeof value === 'number') {
      checkFinite(kind, `captures.${name}`, value);
      numbers++;
      continue;
    }
    if (!(value instanceof Tensor)) {
      throw new ArgumentError(`${kind}: captures.${name} must be a Tensor or a number, got ${describe(value)}`);
    }
    checkTensor(kind, `captures.${name}`, value);
    if (value.rank > MAX_CAPTURED_AXES) {
      throw new ArgumentError(
        `${kind}: captures.${name} must have at most ${MAX_CAPTURED_AXES} axes, got ${formatShape(value.shape)}`,
      );
    }
    tensors++;
  }
  if (tensors > MAX_CAPTURED_TENSORS) {
    throw new ArgumentError(`${kind}: captures must be at most ${MAX_CAPTURED_TENSORS} tensors, got ${tensors}`);
  }
  if (numbers > MAX_CAPTURED_NUMBERS) {
    throw new ArgumentError(`${kind}: captures must be at most ${MAX_CAPTURED_NUMBERS} numbers, got ${numbers}`);
  }
}
