/** Checks of the options that modify scores and masks, and what those give to kernels. */
import { ArgumentError } from '../../../gpu/errors.ts';
import type { ModifierKind } from '../../../kernels/modifiers.ts';
import type { Device } from '../../../tensor/device.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { checkTensor, describe } from '../../internal/check.ts';
import { BlockMask } from '../block-mask.ts';
import { Modifier, type ScoreMod } from '../score-mod.ts';

/** Why a call with these modifiers has no gradient. */
export function refusalOf(op: string, scoreMod: ScoreMod | undefined, captures: readonly Tensor[]): string | undefined {
  if (captures.some((tensor) => tensor.requiresGrad)) {
    return `${op}: a modifier's captures must not require a gradient, which they have none of, got a tensor that does`;
  }
  if (scoreMod && !scoreMod.derivativeCode) {
    return `${op}: scoreMod must come with its derivative where a gradient is wanted, got none: scoreMod(source, { derivative })`;
  }
  return undefined;
}

/** The kinds [B or 1, H or 1, query blocks, key blocks] begin at word `at` of the table. */
export function blockFields({ kinds, blockSize }: BlockMask, at: number) {
  const [batch, heads, rows, columns] = kinds.shape;
  return {
    at,
    shift: Math.log2(blockSize),
    columns,
    batch_pitch: batch === 1 ? 0 : heads * rows * columns,
    head_pitch: heads === 1 ? 0 : rows * columns,
  };
}

/** @throws ArgumentError unless it is such a modifier, and what it captured is alive and on the device */
export function checkModifier(op: string, kind: ModifierKind, modifier: unknown, device: Device, whose: string): void {
  if (!(modifier instanceof Modifier) || modifier.kind !== kind) {
    const got = modifier instanceof Modifier ? `a ${modifier.kind}` : describe(modifier);
    throw new ArgumentError(`${op}: ${kind} must be made by ${kind}(), got ${got}`);
  }
  for (const [name, tensor] of modifier.tensors) {
    checkTensor(op, `${kind}'s capture ${name}`, tensor);
    if (tensor.device !== device) {
      throw new ArgumentError(`${op}: ${kind}'s capture ${name} must be on ${whose}, got a tensor of another device`);
    }
  }
}

/** @throws ArgumentError unless it is a block mask for a call of these sizes, alive and on the device */
export function checkBlockMask(
  op: string,
  blockMask: unknown,
  device: Device,
  whose: string,
  { batch, heads, queryLength, keyLength }: Readonly<Record<'batch' | 'heads' | 'queryLength' | 'keyLength', number>>,
): void {
  if (!(blockMask instanceof BlockMask)) {
    throw new ArgumentError(`${op}: blockMask must be made by createBlockMask(), got ${describe(blockMask)}`);
  }
  checkTensor(op, "blockMask's kinds", blockMask.kinds);
  checkModifier(op, 'maskMod', blockMask.maskMod, device, whose);
  if (blockMask.kinds.device !== device) {
    throw new ArgumentError(`${op}: blockMask must be on ${whose}, got one of another device`);
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
