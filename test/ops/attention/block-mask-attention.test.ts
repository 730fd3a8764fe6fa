/** Block masks in the attention ops: the same as their mask modifier alone, and as the float64 reference. */
import { beforeAll, describe, expect, test } from 'vitest';
import {
  ArgumentError,
  causalMask,
  createBlockMask,
  createDevice,
  type BlockMaskOptions,
  type Device,
  type Tensor,
} from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { Random } from '../../random.ts';
import type { MaskFunction } from '../../reference/block-mask.ts';
import { anyMask, anyScore, type Shift } from './any-modifiers.ts';
import { ATTENTION_OPS, expectEveryOp, type Problem } from './attention-run.ts';
import { call, map, randomOperands } from './attention-suite.ts';

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const [QUERIES, KEYS] = [150, 203];
const operands = randomOperands(new Random(1), { heads: 4, kvHeads: 2, queries: QUERIES, keys: KEYS, dim: 16 });

/** Fails unless each op with the blocks gives what the reference gives with the function; the blocks' density. */
async function expectBlocks(
  twin: MaskFunction,
  options: Partial<BlockMaskOptions> = {},
  more: Partial<Problem> = {},
): Promise<number> {
  const sizes = { batch: 1, heads: 1, queryLength: QUERIES, keyLength: KEYS, blockSize: 32, ...options };
  const maskMod = anyMask(device, [sizes.batch, sizes.heads, sizes.queryLength, sizes.keyLength], twin);
  using blockMask = createBlockMask(device, maskMod, sizes);
  // a score modifier too, so that one kernel serves all
  const modifiers = (d: Device) => ({ blockMask, scoreMod: anyScore(d, [1, 4, 1, sizes.keyLength], 0.5, shift) });
  const scoreMod = (s: number, b: number, h: number, i: number, j: number) => 0.5 * s + shift(b, h, i, j);
  await expectEveryOp({ ...operands, ...more, modifiers, maskMod: twin, scoreMod }, 'float32');
  (maskMod.captures['allowed'] as Tensor).dispose();
  return await blockMask.density();
}

const shift: Shift = (_b, h, _i, j) => ((h * j) % 7) / 3;

const inBlocks = (...positions: number[]) => positions.map((at) => Math.floor(at / 32));

describe('a block mask', () => {
  test.each([32, 64, 128, 512])('with blocks of %i', async (blockSize) => {
    await expectBlocks((_b, _h, i, j) => j <= i + 20, { blockSize });
  });

  test('sparse: a window, and documents', async () => {
    expect(await expectBlocks((_b, _h, i, j) => j <= i && i - j <= 30)).toBeLessThan(0.4);
    expect(await expectBlocks((_b, _h, i, j) => Math.floor(i / 64) === Math.floor(j / 64))).toBeLessThan(0.4);
  });

  test('empty for whole rows of blocks, and for all', async () => {
    const holes: MaskFunction = (_b, _h, i, j) => {
      const [row, column] = inBlocks(i, j);
      return row !== 1 && column % 2 === 1;
    };
    await expectBlocks(holes);
    expect(await expectBlocks(() => false)).toBe(0);
  });

  test('full, with keys past the last block hidden', async () => {
    expect(await expectBlocks(() => true)).toBe(1);
  });

  test('that differs by batch entry, by head, and by both', async () => {
    await expectBlocks((b, _h, i, j) => j <= i + 90 * b, { batch: 2 });
    await expectBlocks((_b, h, i, j) => Math.floor(j / 50) === h || i < 40, { heads: 4 });
    const byBoth: MaskFunction = (b, h, i, j) => {
      const [row, column] = inBlocks(i, j);
      return (row + column + h + 2 * b) % 3 === 0;
    };
    await expectBlocks(byBoth, { batch: 2, heads: 4 });
  });

  test('beside other masks', async () => {
    const random = new Random(2);
    const others: Partial<Problem> = {
      keyMask: { shape: [2, KEYS], data: random.bools([2, KEYS], 0.8) },
      window: { left: 100, right: 20, align: 'bottom-right' },
      keyLengths: [203, 117],
    };
    await expectBlocks((_b, _h, i, j) => j <= i + 53, {}, others);
  });

  test.each([1, 5])('for %i queries', async (queries) => {
    const few = randomOperands(new Random(3), { heads: 4, kvHeads: 1, queries, keys: 500, dim: 16 });
    const sizes = { queryLength: queries, keyLength: 500, blockSize: 64 };
    await expectBlocks((_b, _h, i, j) => Math.floor(j / 64) % 3 === 1 || j % 64 === i, sizes, few);
  });

  test('hides whatever the keys of empty blocks hold', async () => {
    const isHidden = (key: number) => inBlocks(key)[0] === 2;
    const poison = (x: number, at: number) => (isHidden(Math.floor(at / 16) % KEYS) ? NaN : x);
    const poisoned = { k: map(operands.k, poison), v: map(operands.v, poison) };
    await expectBlocks((_b, _h, _i, j) => !isHidden(j), {}, poisoned);
  });
});

describe('refuses', () => {
  test.each(ATTENTION_OPS)('in %s', async (op) => {
    using other = await createDevice();
    const lengths = { queryLength: 4, keyLength: 6 };
    using fits = createBlockMask(device, causalMask(), lengths);
    using foreign = createBlockMask(other, causalMask(), lengths);
    const wrong = [
      { ...lengths, queryLength: 5 },
      { ...lengths, keyLength: 5 },
      { ...lengths, batch: 3 },
      { ...lengths, heads: 3 },
    ].map((options) => createBlockMask(device, causalMask(), options));
    const gone = createBlockMask(device, causalMask(), lengths);
    gone.dispose();
    device.scope(() => {
      const [q, k] = [device.zeros([2, 2, 4, 8]), device.zeros([2, 2, 6, 8])];
      const refused = [
        [wrong[0], "blockMask's queryLength must be the call's 4, got 5"],
        [wrong[1], "blockMask's keyLength must be the call's 6, got 5"],
        [wrong[2], "blockMask's batch must be 1 or the call's 2, got 3"],
        [wrong[3], "blockMask's heads must be 1 or the call's 2, got 3"],
        [gone, "blockMask's kinds must not be disposed, got a disposed tensor of [1, 1, 1, 1]"],
        [foreign, "blockMask must be on query's device, got one of another device"],
        [causalMask() as never, 'blockMask must be made by createBlockMask(), got Modifier'],
      ] as const;
      for (const [blockMask, message] of refused) {
        expect(() => call(op, q, k, k, { blockMask })).toThrow(new ArgumentError(`${op}: ${message}`));
      }
      expect(() => call(op, q, k, k, { blockMask: fits, maskMod: causalMask() })).toThrow(
        new ArgumentError(`${op}: maskMod must not come with blockMask, which has its own, got both`),
      );
      call(op, q, k, k, { blockMask: fits });
    });
    for (const blockMask of wrong) blockMask.dispose();
  });
});
