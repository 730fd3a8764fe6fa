/** Random problems against the float64 reference: shapes, masks, layouts and options that nobody thought of. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Device } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { IS_MATRIX } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { type AttentionOp, expectAttention, type Problem } from './attention-run.ts';
import { boolMask, floatMask, randomOperands } from './attention-suite.ts';
import { anyLayout, ofRank } from '../any-layout.ts';

const RUNS = 60;
/** Fixed, so that every machine tries the same; a failure prints it with the path to the smallest counterexample. */
const SEED = 20_170_612;

const alignment = fc.constantFrom('top-left' as const, 'bottom-right' as const);
const length = fc.integer({ min: 1, max: 70 });

const sizes = fc.record({
  batch: fc.integer({ min: 1, max: 3 }),
  kvHeads: fc.integer({ min: 1, max: 2 }),
  group: fc.integer({ min: 1, max: 3 }),
  queries: length,
  keys: length,
  // larger buckets of head dims have tests of their own: each costs seconds to compile
  dim: fc.integer({ min: 1, max: IS_MATRIX ? 70 : 32 }),
  valueDim: fc.integer({ min: 1, max: IS_MATRIX ? 64 : 32 }),
});

const mask = fc.option(
  fc.record({
    kind: fc.constantFrom('bool' as const, 'float' as const),
    /** Along which of [B, H, Nq, Nk] it repeats. */
    repeats: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
    /** Leading axes left out. */
    dropped: fc.integer({ min: 0, max: 3 }),
    layout: anyLayout,
  }),
  { nil: undefined },
);

const bound = fc.oneof(fc.integer({ min: -1, max: 20 }), fc.integer({ min: 21, max: 100 }));

const cases = fc.record({
  seed: fc.nat(1e6),
  sizes,
  mask,
  hasKeyMask: fc.boolean(),
  isCausal: fc.oneof(fc.boolean(), alignment),
  scale: fc.option(fc.double({ min: -2, max: 2, noNaN: true }), { nil: undefined }),
  dtype: fc.constantFrom('float32' as const, 'float16' as const),
  layouts: fc.record({ q: anyLayout, k: anyLayout, v: anyLayout }),
  window: fc.record({ left: bound, right: bound, align: fc.option(alignment, { nil: undefined }) }),
});

type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

function problemOf(c: Case, op: AttentionOp): Problem {
  const random = new Random(c.seed);
  const { batch, kvHeads, group, queries, keys } = c.sizes;
  const heads = kvHeads * group;
  const shape = [batch, heads, queries, keys];
  const maskShape = c.mask && shape.map((size, axis) => (c.mask!.repeats[axis] ? 1 : size)).slice(c.mask.dropped);
  const makeMask = c.mask?.kind === 'bool' ? boolMask : floatMask;
  const { align, left, right } = c.window;
  return {
    ...randomOperands(random, { ...c.sizes, heads }),
    mask: maskShape && makeMask(random, maskShape),
    keyMask: c.hasKeyMask ? boolMask(random, [batch, keys], 0.8) : undefined,
    isCausal: c.isCausal,
    scale: c.scale,
    window: op === 'localAttention' ? { left, right, ...(align && { align }) } : undefined,
    layouts: { ...dropUndefined(c.layouts), ...(maskShape && { mask: ofRank(c.mask?.layout, maskShape.length) }) },
  };
}

function dropUndefined(layouts: Case['layouts']): Problem['layouts'] {
  return Object.fromEntries(Object.entries(layouts).filter(([, value]) => value !== undefined));
}

describe.each(['flashAttention', 'localAttention', 'scaledDotProductAttention'] as const)('%s', (op) => {
  let device: Device;
  let liveBefore: number;
  beforeAll(async () => {
    device = await testDevice();
    liveBefore = device.memory().live;
  });
  afterAll(() => expect(device.memory().live).toBe(liveBefore));

  test(`agrees with the reference on ${RUNS} random problems`, async () => {
    const property = fc.asyncProperty(cases, async (c) => {
      await expectAttention(op, problemOf(c, op), c.dtype, { isFar: true });
    });
    await fc.assert(property, { numRuns: RUNS, seed: SEED });
  });
});
