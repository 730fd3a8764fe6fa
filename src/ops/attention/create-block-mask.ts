import { ArgumentError } from '../../gpu/errors.ts';
import { planBlockMask } from '../../kernels/attention.ts';
import { planModifiers } from '../../kernels/modifiers.ts';
import { Device } from '../../tensor/device.ts';
import { checkOptions } from '../../tensor/options.ts';
import { BlockMask, type BlockMaskOptions } from './block-mask.ts';
import { checkPositive, describe } from '../internal/check.ts';
import { checkModifier } from './internal/modifiers.ts';
import type { MaskMod } from './score-mod.ts';
import { joinTable } from '../internal/table.ts';

/**
 * Calls a `maskMod` once for every query and key, and keeps the result for each block of them, for the option `blockMask`
 * of the attention ops. They skip blocks that are entirely hidden, and call `maskMod` only in blocks that are partly
 * hidden. Like FlexAttention's `create_block_mask`.
 *
 * It costs queryLength · keyLength calls of the function, so make it once and use it for every layer, and for every batch
 * with the same mask. Do not change what `maskMod` captured in the meantime.
 *
 * @throws ArgumentError for a mask of another device, or options that do not fit
 */
export function createBlockMask(device: Device, maskMod: MaskMod, options: BlockMaskOptions): BlockMask {
  const op = 'createBlockMask';
  if (!(device instanceof Device)) {
    throw new ArgumentError(`${op}: device must be a Device, got ${describe(device)}`);
  }
  device.assertUsable();
  checkModifier(op, 'maskMod', maskMod, device, 'the given device');
  checkOptions(op, options, ['batch', 'heads', 'queryLength', 'keyLength', 'blockSize']);
  const { batch = 1, heads = 1, queryLength, keyLength, blockSize = 128 } = options;
  for (const [name, count] of Object.entries({ batch, heads, queryLength, keyLength })) {
    checkPositive(op, name, count);
  }
  if (![32, 64, 128, 256, 512, 1024].includes(blockSize)) {
    throw new ArgumentError(`${op}: blockSize must be a power of two from 32 to 1024, got ${describe(blockSize)}`);
  }
  const sizes = { batch, heads, queryLength, keyLength, blockSize };
  const kinds = device.scope(() => {
    const output = device.empty(
      [batch, heads, Math.ceil(queryLength / blockSize), Math.ceil(keyLength / blockSize)],
      'uint32',
      op,
    );
    const { insertions, captures, fields } = planModifiers(op, [maskMod]);
    const segments = captures.map((tensor) => ({ tensor }));
    const { table, places } = joinTable(op, device, segments);
    const launch = planBlockMask({ op, ...sizes, insertions, captures: fields(places) }, device.traits);
    device.dispatch(op, launch, { table, output });
    return output;
  });
  device.keep(kinds);
  return new BlockMask(maskMod, kinds, sizes);
}
