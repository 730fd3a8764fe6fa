/** Random problems with random options, of all ops against the float64 reference: combinations that nobody thought of. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Device } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { IS_MATRIX, narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { expectEveryOp, type Problem } from './attention-run.ts';
import { boolMask, floatMask, randomOperands } from './attention-suite.ts';
import type { Float } from '../upload.ts';

const RUNS = IS_MATRIX ? 40 : 12;
/** Fixed, so that every machine tries the same; a failure prints it with the path to the smallest counterexample. */
const SEED = 20_250_612;

const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const bound = fc.oneof(fc.constant(-1), fc.integer({ min: 0, max: 30 }), fc.integer({ min: 31, max: 400 }));
const share = fc.double({ min: 0, max: 1, noNaN: true });

const options = {
  seed: fc.nat(1e6),
  dtype: fc.constantFrom(...narrow<Float>(['float32'], ['float32', 'float16'])),
  kvHeads: fc.integer({ min: 1, max: 2 }),
  group: fc.constantFrom(1, 4),
  // one bucket of head dims: what is tried here is options, and each kernel costs seconds to compile
  dim: fc.constantFrom(1, 8, 20, 31),
  valueDim: fc.constantFrom(1, 7, 32),
  isCausal: fc.boolean(),
  align: fc.constantFrom('top-left' as const, 'bottom-right' as const),
  window: some(fc.record({ left: bound, right: bound })),
  scale: some(fc.double({ min: -2, max: 2, noNaN: true })),
  softcap: some(fc.double({ min: 0.25, max: 60, noNaN: true })),
  slopes: fc.constantFrom('none' as const, 'heads' as const, 'batch' as const),
  hasSinks: fc.boolean(),
  offset: fc.constantFrom('none' as const, 'one' as const, 'batch' as const),
  asTensors: fc.boolean(),
};

/** Few queries against many keys, or as many as come. */
const lengths = fc.oneof(
  fc.record({ queries: fc.constantFrom(1, 3), keys: fc.integer({ min: 1, max: 700 }) }),
  fc.record({ queries: fc.integer({ min: 1, max: 70 }), keys: fc.integer({ min: 1, max: 90 }) }),
);

const stored = fc.record({
  ...options,
  batch: fc.integer({ min: 1, max: 3 }),
  lengths,
  keyLengths: some(fc.array(share, { minLength: 3, maxLength: 3 })),
  mask: fc.constantFrom('none' as const, 'bool' as const, 'float' as const),
  hasKeyMask: fc.boolean(),
});

const packed = fc.record({ ...options, sequences: fc.array(lengths, { minLength: 1, maxLength: 5 }) });

type Options = { [name in keyof typeof options]: (typeof options)[name] extends fc.Arbitrary<infer T> ? T : never };

/** The options that both kinds have, for so many batch entries or sequences. */
function shared(
  c: Options,
  random: Random,
  batch: number,
  queries: number,
  keys: number,
): Omit<Problem, 'q' | 'k' | 'v'> {
  const heads = c.kvHeads * c.group;
  const slopeShape = c.slopes === 'batch' ? [batch, heads] : [heads];
  const offset = () => random.integer(-queries - 5, keys + 5);
  return {
    scale: c.scale,
    softcap: c.softcap,
    isCausal: c.isCausal ? c.align : false,
    window: c.window && { ...c.window, align: c.align },
    alibiSlopes: c.slopes === 'none' ? undefined : { shape: slopeShape, data: random.normals(slopeShape, 0.1) },
    sinks: c.hasSinks ? { shape: [heads], data: random.normals([heads], 2) } : undefined,
    queryOffset: { none: undefined, one: offset(), batch: Array.from({ length: batch }, offset) }[c.offset],
    asTensors: c.asTensors,
  };
}

describe('attention ops', () => {
  let device: Device;
  let liveBefore: number;
  beforeAll(async () => {
    device = await testDevice();
    liveBefore = device.memory().live;
  });
  afterAll(() => expect(device.memory().live).toBe(liveBefore));

  test(`agree with the reference on ${RUNS} random problems`, async () => {
    const property = fc.asyncProperty(stored, async (c) => {
      const random = new Random(c.seed);
      const { batch, kvHeads, group, dim, valueDim } = c;
      const { queries, keys } = c.lengths;
      const heads = kvHeads * group;
      const makeMask = { none: undefined, bool: boolMask, float: floatMask }[c.mask];
      const problem: Problem = {
        ...randomOperands(random, { batch, heads, kvHeads, queries, keys, dim, valueDim }),
        ...shared(c, random, batch, queries, keys),
        mask: makeMask?.(random, [batch, 1, queries, keys]),
        keyMask: c.hasKeyMask ? boolMask(random, [batch, keys], 0.8) : undefined,
        keyLengths: c.keyLengths?.slice(0, batch).map((part) => Math.round(part * keys)),
      };
      await expectEveryOp(problem, c.dtype, { isFar: true });
    });
    await fc.assert(property, { numRuns: RUNS, seed: SEED });
  });

  test(`agree with the reference on ${RUNS} packed batches`, async () => {
    const property = fc.asyncProperty(packed, async (c) => {
      const random = new Random(c.seed);
      const { kvHeads, group, dim, valueDim, sequences } = c;
      const [queryOffsets, keyOffsets] = [[0], [0]];
      for (const { queries, keys } of sequences) {
        // some without queries, some without keys
        queryOffsets.push(queryOffsets.at(-1)! + (random.uniform() < 0.1 ? 0 : queries));
        keyOffsets.push(keyOffsets.at(-1)! + (random.uniform() < 0.1 ? 0 : keys));
      }
      const [queries, keys] = [queryOffsets.at(-1)!, keyOffsets.at(-1)!];
      fc.pre(queries > 0 && keys > 0);
      const sizes = { batch: 1, heads: kvHeads * group, kvHeads, queries, keys, dim, valueDim };
      const problem: Problem = {
        ...randomOperands(random, sizes),
        ...shared(c, random, sequences.length, 70, 90),
        queryOffsets,
        keyOffsets,
      };
      await expectEveryOp(problem, c.dtype, { isFar: true });
    });
    await fc.assert(property, { numRuns: RUNS, seed: SEED });
  });
});
