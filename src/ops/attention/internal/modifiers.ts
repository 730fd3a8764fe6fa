/** The options that modify scores and masks. */
import { ArgumentError } from '../../../gpu/errors.ts';
import { captureFields, planModifiers, type ModifierKind } from '../../../kernels/modifiers.ts';
import type { Device } from '../../../tensor/device.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { checkTensor, describe } from '../../internal/check.ts';
import { BlockMask } from '../block-mask.ts';
import { given as describeGiven, Modifier, type MaskMod, type ScoreMod } from '../score-mod.ts';
import type { CallSizes, OptionRecord } from './option-record.ts';

export interface ModifierOptions {
  /** Changes each scaled score before the masks: see the function `scoreMod`. */
  scoreMod?: ScoreMod;
  /** Says which keys a query may attend to, on top of every other mask: see the function `maskMod`. */
  maskMod?: MaskMod;
  /** A `maskMod` with the blocks that can be skipped: see `createBlockMask`. Its lengths must be those of the call. */
  blockMask?: BlockMask;
}

/** Modifiers as kernels take them: the texts of their functions, and what those read. */
export const modifiers: OptionRecord = {
  names: ['scoreMod', 'maskMod', 'blockMask'],
  absent: {
    captures: captureFields([], [], []),
    blocks: { at: 0, shift: 0, columns: 0, batch_pitch: 0, head_pitch: 0 },
  },
  resolve(options, sizes) {
    const { op, like } = sizes;
    const { scoreMod, maskMod, blockMask } = options;
    const whose = `${like.name}'s device`;
    if (scoreMod !== undefined) checkModifier(op, 'scoreMod', scoreMod, like.tensor.device, whose);
    if (maskMod !== undefined) checkModifier(op, 'maskMod', maskMod, like.tensor.device, whose);
    if (blockMask !== undefined) checkBlockMask(blockMask, sizes);
    if (maskMod && blockMask) {
      throw new ArgumentError(`${op}: maskMod must not come with blockMask, which has its own, got both`);
    }
    const given = [scoreMod, blockMask?.maskMod ?? maskMod].filter((modifier) => modifier !== undefined);
    if (given.length === 0) return undefined;
    const { captures, fields, ...planned } = planModifiers(op, given);
    return {
      ...planned,
      constants: {
        ...(scoreMod && { MODIFIES_SCORES: true, HAS_SCORE_MOD: true }),
        ...((maskMod || blockMask) && { HAS_MASK_MOD: true }),
        ...(blockMask && { HAS_BLOCK_MASK: true }),
      },
      segments: [...captures, ...(blockMask ? [blockMask.kinds] : [])].map((tensor) => ({ tensor })),
      fields: (at) => ({
        captures: fields(at.slice(0, captures.length)),
        ...(blockMask && { blocks: blockFields(blockMask, at.at(-1)!) }),
      }),
      inputs: Object.fromEntries(captures.map((tensor, i) => [`capture${i}`, tensor])),
      refusal: refusalOf(op, scoreMod, captures),
      maskBlock: blockMask?.blockSize,
    };
  },
};

function refusalOf(op: string, scoreMod: ScoreMod | undefined, captures: readonly Tensor[]): string | undefined {
  if (captures.some((tensor) => tensor.requiresGrad)) {
    return `${op}: a modifier's captures must not require a gradient, which they have none of, got a tensor that does`;
  }
  if (scoreMod && !scoreMod.derivativeCode) {
    return `${op}: scoreMod must come with its derivative where a gradient is wanted, got none: scoreMod(source, { derivative })`;
  }
  return undefined;
}

/** The kinds [B or 1, H or 1, query blocks, key blocks] begin at word `at` of the table. */
function blockFields({ kinds, blockSize }: BlockMask, at: number) {
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
    const got = modifier instanceof Modifier ? `a ${modifier.kind}` : describeGiven(modifier);
    throw new ArgumentError(`${op}: ${kind} must be made by ${kind}(), got ${got}`);
  }
  for (const [name, tensor] of modifier.tensors) {
    checkTensor(op, `${kind}'s capture ${name}`, tensor);
    if (tensor.device !== device) {
      throw new ArgumentError(`${op}: ${kind}'s capture ${name} must be on ${whose}, got a tensor of another device`);
    }
  }
}

function checkBlockMask(blockMask: unknown, { op, batch, heads, queryLength, keyLength, like }: CallSizes): void {
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
