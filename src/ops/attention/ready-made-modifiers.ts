/**
 * Modifiers that many models use, named as in FlexAttention's examples and attention-gym. Each is also an example of how
 * to write one. Query i is at position i + offset, key j at position j.
 */
import { ArgumentError } from '../../gpu/errors.ts';
import { checkOptions } from '../../tensor/options.ts';
import { formatShape } from '../../tensor/shape.ts';
import { Tensor } from '../../tensor/tensor.ts';
import { checkBoolean, checkFinite, checkTensor, describe } from '../internal/check.ts';
import { maskMod, scoreMod, type MaskMod, type ScoreMod } from './score-mod.ts';

export interface PositionOptions {
  /** Position of the first query among the keys, an integer; default 0. */
  offset?: number;
}

/**
 * Keys up to the query's own position. The options `isCausal` and `queryOffset` do the same without a block mask.
 *
 * @throws ArgumentError for an offset that is not an integer
 */
export function causalMask(options: PositionOptions = {}): MaskMod {
  const offset = checkOffset('causalMask', options);
  return maskMod(
    `fn mask_mod(batch: u32, head: u32, query: u32, key: u32) -> bool {
       return i32(key) <= i32(query) + i32(offset());
     }`,
    { captures: { offset } },
  );
}

/**
 * The query's own position and `size` keys before it, like the option `window` with `{ left: size, right: 0 }`.
 *
 * @throws ArgumentError for a size that is not a whole number of keys
 */
export function slidingWindow(size: number, options: PositionOptions = {}): MaskMod {
  const op = 'slidingWindow';
  checkCount(op, 'size', size);
  const offset = checkOffset(op, options);
  return maskMod(
    `fn mask_mod(batch: u32, head: u32, query: u32, key: u32) -> bool {
       let distance = i32(query) + i32(offset()) - i32(key);
       return distance >= 0 && distance <= i32(size());
     }`,
    { captures: { size, offset } },
  );
}

/**
 * A prefix that every query sees, and causal after it (Raffel et al., "Exploring the Limits of Transfer Learning with a
 * Unified Text-to-Text Transformer", 2020).
 *
 * @param prefix keys: a number, or an int32 or uint32 tensor [B], one for each batch entry
 * @throws ArgumentError for a prefix that is neither
 */
export function prefixLm(prefix: number | Tensor, options: PositionOptions = {}): MaskMod {
  const op = 'prefixLm';
  const offset = checkOffset(op, options);
  if (prefix instanceof Tensor) checkIds(op, 'prefix', prefix, [1]);
  else checkCount(op, 'prefix', prefix);
  return maskMod(
    `fn mask_mod(batch: u32, head: u32, query: u32, key: u32) -> bool {
       return i32(key) < i32(prefix(${prefix instanceof Tensor ? 'batch' : ''})) || i32(key) <= i32(query) + i32(offset());
     }`,
    { captures: { prefix, offset } },
  );
}

/**
 * Keys of the query's own document, for sequences that hold several documents one after another.
 *
 * @param documents int32 or uint32 [N] or [B, N]: which document each position of queries and keys belongs to
 * @param options `isCausal`: only keys up to the query's own position
 * @throws ArgumentError for documents of another dtype or rank
 */
export function documentMask(documents: Tensor, options: { isCausal?: boolean } = {}): MaskMod {
  const op = 'documentMask';
  checkOptions(op, options, ['isCausal']);
  checkBoolean(op, 'isCausal', options.isCausal);
  checkIds(op, 'documents', documents, [1, 2]);
  const entry = documents.rank === 2 ? 'batch, ' : '';
  return maskMod(
    `fn mask_mod(batch: u32, head: u32, query: u32, key: u32) -> bool {
       return documents(${entry}query) == documents(${entry}key) && (is_causal() == 0.0 || key <= query);
     }`,
    { captures: { documents, is_causal: options.isCausal ? 1 : 0 } },
  );
}

/**
 * ALiBi: subtracts slope · |distance| from a score (Press, Smith & Lewis, "Train Short, Test Long", 2022), as the option
 * `alibiSlopes` does.
 *
 * @param slopes float32 or float16 tensor [H]; or the number of heads H, for the slopes 2^(−8 (h + 1) / H)
 * @throws ArgumentError for slopes of another dtype or rank
 */
export function alibi(slopes: Tensor | number, options: PositionOptions = {}): ScoreMod {
  const op = 'alibi';
  const offset = checkOffset(op, options);
  const isTensor = slopes instanceof Tensor;
  if (!isTensor) checkCount(op, 'slopes', slopes, 1);
  else {
    checkTensor(op, 'slopes', slopes);
    if (slopes.rank !== 1 || (slopes.dtype !== 'float32' && slopes.dtype !== 'float16')) {
      throw new ArgumentError(`${op}: slopes must be a float tensor [heads] or a number, got ${describe(slopes)}`);
    }
  }
  return scoreMod(
    `fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
       let slope = ${isTensor ? 'slopes(head)' : 'exp2(-8.0 * f32(head + 1u) / heads())'};
       return score - slope * f32(abs(i32(query) + i32(offset()) - i32(key)));
     }`,
    {
      captures: isTensor ? { slopes, offset } : { heads: slopes, offset },
      derivative: `fn score_mod_derivative(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
         return 1.0;
       }`,
    },
  );
}

/**
 * cap · tanh(score / cap) (Bello et al., "Neural Combinatorial Optimization with Reinforcement Learning", 2016; Gemma 2), as
 * the option `softcap` does.
 *
 * @throws ArgumentError for a cap that is not positive
 */
export function softcap(cap: number): ScoreMod {
  checkFinite('softcap', 'cap', cap);
  if (!(cap > 0)) throw new ArgumentError(`softcap: cap must be positive, got ${cap}`);
  return scoreMod(
    `fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
       // some drivers give NaN for the tanh of a large number; a NaN score stays NaN
       let capped = cap() * tanh(clamp(score / cap(), -15.0, 15.0));
       return select(capped, score, (bitcast<u32>(score) & 0x7fffffffu) > 0x7f800000u);
     }`,
    {
      captures: { cap },
      derivative: `fn score_mod_derivative(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
         let ratio = tanh(clamp(score / cap(), -15.0, 15.0));
         return select(1.0 - ratio * ratio, score, (bitcast<u32>(score) & 0x7fffffffu) > 0x7f800000u);
       }`,
    },
  );
}

function checkOffset(op: string, options: PositionOptions): number {
  checkOptions(op, options, ['offset']);
  const { offset = 0 } = options;
  if (!Number.isInteger(offset) || Math.abs(offset) > EXACT) {
    throw new ArgumentError(`${op}: offset must be an integer, got ${describe(offset)}`);
  }
  return offset;
}

/** Integers up to this are exact in f32, the type of captured numbers. */
const EXACT = 2 ** 24;

function checkCount(op: string, name: string, value: unknown, least = 0): void {
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > EXACT) {
    throw new ArgumentError(`${op}: ${name} must be a whole number from ${least} to ${EXACT}, got ${describe(value)}`);
  }
}

function checkIds(op: string, name: string, tensor: Tensor, ranks: readonly number[]): void {
  checkTensor(op, name, tensor);
  if (tensor.dtype !== 'int32' && tensor.dtype !== 'uint32') {
    throw new ArgumentError(`${op}: ${name} must be int32 or uint32, got ${tensor.dtype}`);
  }
  if (!ranks.includes(tensor.rank)) {
    throw new ArgumentError(`${op}: ${name} must have ${ranks.join(' or ')} axes, got ${formatShape(tensor.shape)}`);
  }
}
