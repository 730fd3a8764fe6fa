/** The options that modify scores and masks, checked and turned into what kernels take. */
import { ArgumentError } from '../../../gpu/errors.ts';
import { planModifiers, type ModifierKind, type Modifiers } from '../../../kernels/modifiers.ts';
import type { Device } from '../../../tensor/device.ts';
import { BYTES } from '../../../tensor/dtype.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { BlockMask } from '../block-mask.ts';
import { checkTensor, describe } from '../../internal/check.ts';
import { clone } from '../../copy.ts';
import { given, Modifier, type MaskMod, type ScoreMod } from '../score-mod.ts';

export interface ModifierOptions {
  /** Changes each scaled score, before masks: see the function `scoreMod`. */
  scoreMod?: ScoreMod;
  /** Says which keys a query may attend to, on top of every other mask: see the function `maskMod`. */
  maskMod?: MaskMod;
  /** A `maskMod` with the blocks that can be passed over: see `createBlockMask`. Its lengths must be those of the call. */
  blockMask?: BlockMask;
}

export const MODIFIER_OPTIONS = ['scoreMod', 'maskMod', 'blockMask'] as const;

export interface CheckedModifiers {
  readonly modifiers: Modifiers;
  /** Captured tensors, in the order of their slots. */
  readonly captures: readonly Tensor[];
  readonly blockMask?: BlockMask;
}

/** The score matrix that the modifiers are about, and the tensor whose device theirs must be. */
interface Scores {
  readonly batch: number;
  readonly heads: number;
  readonly queryLength: number;
  readonly keyLength: number;
  readonly like: { readonly name: string; readonly tensor: Tensor };
}

/** Undefined where there is no modifier. */
export function checkModifiers(op: string, options: ModifierOptions, scores: Scores): CheckedModifiers | undefined {
  const { scoreMod, maskMod, blockMask } = options;
  const { name, tensor } = scores.like;
  if (scoreMod !== undefined) checkModifier(op, 'scoreMod', scoreMod, tensor.device, `${name}'s device`);
  if (maskMod !== undefined) checkModifier(op, 'maskMod', maskMod, tensor.device, `${name}'s device`);
  if (blockMask !== undefined) checkBlockMask(op, blockMask, scores);
  if (maskMod && blockMask) {
    throw new ArgumentError(`${op}: maskMod must come without blockMask, which has one of its own, got both`);
  }
  const mask = blockMask?.maskMod ?? maskMod;
  const modifiers = [scoreMod, mask].filter((modifier) => modifier !== undefined);
  return modifiers.length > 0 ? { ...planned(op, modifiers), blockMask } : undefined;
}

/** @throws ArgumentError unless it is such a modifier, and what it captured is alive and on the device */
export function checkModifier(op: string, kind: ModifierKind, modifier: unknown, device: Device, whose: string): void {
  if (!(modifier instanceof Modifier) || modifier.kind !== kind) {
    const got = modifier instanceof Modifier ? `a ${modifier.kind}` : given(modifier);
    throw new ArgumentError(`${op}: ${kind} must be made by ${kind}(), got ${got}`);
  }
  for (const [name, tensor] of modifier.tensors) {
    checkTensor(op, `${kind}'s capture ${name}`, tensor);
    if (tensor.device !== device) {
      throw new ArgumentError(`${op}: ${kind}'s capture ${name} must be on ${whose}, got a tensor of another device`);
    }
  }
}

function checkBlockMask(op: string, blockMask: unknown, { batch, heads, queryLength, keyLength, like }: Scores): void {
  if (!(blockMask instanceof BlockMask)) {
    throw new ArgumentError(`${op}: blockMask must be made by createBlockMask(), got ${describe(blockMask)}`);
  }
  checkTensor(op, "blockMask's kinds", blockMask.kinds);
  checkModifier(op, 'maskMod', blockMask.maskMod, like.tensor.device, `${like.name}'s device`);
  if (blockMask.kinds.device !== like.tensor.device) {
    throw new ArgumentError(`${op}: blockMask must be on ${like.name}'s device, got one of another device`);
  }
  for (const [name, length] of Object.entries({ queryLength, keyLength })) {
    const own = blockMask[name as 'queryLength' | 'keyLength'];
    if (own !== length) throw new ArgumentError(`${op}: blockMask's ${name} must be the call's ${length}, got ${own}`);
  }
  for (const [name, count] of Object.entries({ batch, heads })) {
    const own = blockMask[name as 'batch' | 'heads'];
    if (own !== 1 && own !== count) {
      throw new ArgumentError(`${op}: blockMask's ${name} must be 1 or the call's ${count}, got ${own}`);
    }
  }
}

/** Checked modifiers as a kernel takes them. */
export function planned(op: string, modifiers: readonly Modifier[]): CheckedModifiers {
  const sources = modifiers.map(({ kind, code, derivativeCode, tensors, numbers }) => ({
    kind,
    code,
    ...(derivativeCode && { derivative: derivativeCode }),
    tensors: tensors.map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
    numbers: numbers.map(([name, value]) => ({ name, value })),
  }));
  return {
    modifiers: planModifiers(op, sources),
    captures: modifiers.flatMap(({ tensors }) => tensors.map(([, tensor]) => tensor)),
  };
}

/** Captured tensors for a kernel's table. Call it in a scope: it copies views whose elements share words with others'. */
export function captureSegments(checked?: CheckedModifiers): { tensor: Tensor }[] {
  return (checked?.captures ?? []).map((tensor) => {
    const bytes = BYTES[tensor.dtype];
    const liesInWords = bytes === 4 || (tensor.isContiguous && (tensor.offset * bytes) % 4 === 0);
    return { tensor: liesInWords ? tensor : clone(tensor) };
  });
}
