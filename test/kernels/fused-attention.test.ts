/** Which kernel a problem gets, and how its work is divided. */
import { describe, expect, test } from 'vitest';
import type { AttentionProblem } from '../../src/kernels/attention-operands.ts';
import { NO_CHOICES } from '../../src/kernels/choice.ts';
import { planFlashAttention } from '../../src/kernels/flash-attention.ts';
import { attentionKey } from '../../src/kernels/fused-attention.ts';
import { UNBOUNDED } from '../../src/kernels/visibility.ts';
import { attentionProblem, CPU_DRIVER, DEFAULTS, dense, frozen } from './problems.ts';

const decode = (given: Partial<AttentionProblem> = {}) =>
  attentionProblem({ queryLength: 1, keyLength: 4096, heads: 8, ...given });
type ParametersAfterProblem = Parameters<typeof planFlashAttention> extends [unknown, ...infer Rest] ? Rest : never;
const plan = (given: Partial<AttentionProblem>, traits = DEFAULTS) => planFlashAttention(decode(given), traits);

describe('few queries', () => {
  test('take the kernel whose invocations walk keys of their own on CPU drivers, and small tiles on GPUs', () => {
    expect(plan({}, CPU_DRIVER).choice.variant).toMatchObject({ name: 'stream', blockQ: 1, blockK: 8 });
    expect(plan({ queryLength: 3 }, CPU_DRIVER).choice.variant).toMatchObject({
      name: 'stream',
      blockQ: 4,
      blockK: 8,
    });
    expect(plan({ heads: 16, kvHeads: 2 }, CPU_DRIVER).choice.variant).toMatchObject({ name: 'stream', blockQ: 4 });
    expect(plan({ queryLength: 9 }, CPU_DRIVER).choice.variant.name).toBe('subgroup');
    expect(plan({}).choice.variant.name).toBe('tile-8x32');
    expect(plan({ queryLength: 9 }).choice.variant.name).toBe('tile-32x32');
  });

  test('do not take a kernel for which there is no workgroup memory', () => {
    const pinned = { ...NO_CHOICES, pinned: new Map([['test', 'stream']]) };
    const dims = (headDim: number) => planFlashAttention(decode({ headDim }), DEFAULTS, pinned).choice.variant.name;
    expect([64, 96, 128].map(dims)).toEqual(['stream', 'stream', 'tile-8x32']);
  });

  test('read k and v without branches where they are aligned', () => {
    const isAligned = (given: Partial<AttentionProblem>) => plan(given, CPU_DRIVER).constants['ALIGNED'] ?? false;
    expect(isAligned({})).toBe(true);
    expect(isAligned({ headDim: 40, valueDim: 8 })).toBe(true);
    expect(isAligned({ headDim: 40, valueDim: 7 })).toBe(false);
    expect(isAligned({ headDim: 42, valueDim: 8 })).toBe(false);
    expect(isAligned({ k: { strides: [0, 1, 8, 64], offset: 0 } })).toBe(false);
    expect(isAligned({ v: { ...dense(1, 8, 4096, 64), offset: 2 } })).toBe(false);
  });

  test('do not take what was tuned for many', () => {
    const { op, dtype, sizeClass } = attentionKey({ op: 'test', dtype: 'float32', headDim: 64, valueDim: 64, rows: 3 });
    expect({ op, dtype, sizeClass }).toEqual({ op: 'test', dtype: 'float32', sizeClass: 'few-64' });
    const tuned = new Map([['test/float32/64', { kernel: 'tile-16x32', date: '2026-01-01' }]]);
    const choices = { ...NO_CHOICES, tuned } as unknown as typeof NO_CHOICES;
    expect(planFlashAttention(decode(), DEFAULTS, choices).choice.variant.name).toBe('tile-8x32');
    expect(planFlashAttention(decode({ queryLength: 64 }), DEFAULTS, choices).choice.variant.name).toBe('tile-16x32');
  });
});

describe('split keys', () => {
  const partsOf = (given: Partial<AttentionProblem>, traits = DEFAULTS) => plan(given, traits).merge?.parts ?? 1;

  test('so many that the device has something to do, of 256 keys at least', () => {
    expect(partsOf({})).toBe(16);
    expect(partsOf({ keyLength: 32_768 })).toBe(32);
    expect(partsOf({ keyLength: 511 })).toBe(1);
    expect(partsOf({ keyLength: 512 })).toBe(2);
    expect(partsOf({ batch: 64 })).toBe(1);
    expect(partsOf({}, CPU_DRIVER)).toBe(8);
  });

  test('not where queries are many, nor where a window leaves few keys', () => {
    expect(partsOf({ queryLength: 512 })).toBe(1);
    const visibility = { band: { left: 300, right: 0, queryOffset: 4095 } };
    expect(partsOf({ visibility })).toBe(1);
    expect(partsOf({ visibility: { band: { left: UNBOUNDED, right: 0, queryOffset: 4095 } } })).toBe(16);
  });

  test('are written in float32, one part after the other, and merged into the output', () => {
    const problem = decode({ dtype: 'float16', batch: 2, headDim: 64, valueDim: 40, output: dense(2, 8, 1, 40) });
    const { params, constants, merge } = planFlashAttention(frozen(problem), DEFAULTS);
    expect(constants).toMatchObject({ IS_F16: true, KV_F16: true });
    expect(constants).not.toHaveProperty('OUT_F16');
    expect(params).toMatchObject({
      splits: 16,
      output_strides: [320, 40, 40, 1],
      split_pitch: 640,
      split_rows: 16,
      writes_log_sum_exp: 1,
    });
    expect(merge).toMatchObject({
      parts: 16,
      constants: { OUT_F16: true },
      params: { parts: 16, rows: 16, value_dim: 40, output_strides: [320, 40, 40, 1], writes_log_sum_exp: 0 },
    });
  });
});

describe('a group of query heads', () => {
  test('shares a workgroup where its rows are few', () => {
    const { constants, params } = plan({ heads: 8, kvHeads: 2, queryLength: 2 });
    expect(constants).toMatchObject({ PACKS_GROUP: true });
    expect(params).toMatchObject({ head_tiles: 2, group_size: 4, query_tiles: 1 });
  });

  test('does not where they fill tiles of their own, nor under a block mask', () => {
    const many = plan({ heads: 8, kvHeads: 2, queryLength: 64 });
    expect(many.constants).not.toHaveProperty('PACKS_GROUP');
    expect(many.params).toMatchObject({ head_tiles: 8, query_tiles: 2 });
    const blocks = { at: 0, blockSize: 128, columns: 32, pitches: [0, 0] as const };
    const blocked = plan({ heads: 8, kvHeads: 2, queryLength: 2, blocks });
    expect(blocked.constants).not.toHaveProperty('PACKS_GROUP');
    expect(blocked.merge).toBeUndefined();
  });
});

test('the layouts of caches are constants, their places numbers', () => {
  const ring = plan({ keys: { layout: 'ring', kept: 4, start: 9, length: 60 } });
  expect(ring.constants).toMatchObject({ KEY_LAYOUT: 1 });
  expect(ring.params).toMatchObject({ ring_kept: 4, ring_start: 9, ring_length: 60 });
  const paged = plan({ keys: { layout: 'paged', pageSize: 16, at: 5, pitch: 7 }, kvDtype: 'float16' });
  expect(paged.constants).toMatchObject({ KEY_LAYOUT: 2, KV_F16: true, IS_F16: false });
  expect(paged.params).toMatchObject({ page_shift: 4, pages_at: 5, pages_pitch: 7 });
});

test('a cache takes the kernels that were chosen for flashAttention', () => {
  const choices = { ...NO_CHOICES, pinned: new Map([['flashAttention', 'tile-16x32']]) };
  const kernelOf = (given: Partial<AttentionProblem>) => planFlashAttention(decode(given), DEFAULTS, choices).choice;
  expect(kernelOf({ op: 'KeyValueCache.attend', kernelsOf: 'flashAttention' }).variant.name).toBe('tile-16x32');
  expect(kernelOf({ op: 'KeyValueCache.attend' }).variant.name).toBe('tile-8x32');
});

test('no workgroup and no step straddles two blocks of a block mask', () => {
  const blocks = { at: 0, blockSize: 32, columns: 4, pitches: [0, 0] as const };
  const wide = { ...CPU_DRIVER, subgroupSize: 16 };
  const pinned = (kernel: string) => ({ ...NO_CHOICES, pinned: new Map([['test', kernel]]) });
  const sizesOf = (queryLength: number, ...rest: ParametersAfterProblem) => {
    const problem = attentionProblem({ queryLength, keyLength: 128, blocks });
    const { blockQ, blockK } = planFlashAttention(problem, ...rest).choice.variant;
    return Math.max(blockQ, blockK);
  };
  expect(sizesOf(128, wide)).toBeLessThanOrEqual(32); // whose subgroups take 64 queries
  expect(sizesOf(1, wide)).toBeLessThanOrEqual(32); // whose vectors take 64 keys
  expect(sizesOf(128, DEFAULTS, pinned('tile-8x64'))).toBeLessThanOrEqual(32);
  expect(sizesOf(4, DEFAULTS, pinned('stream'))).toBeLessThanOrEqual(32);
  expect(sizesOf(128, DEFAULTS, NO_CHOICES, 128)).toBeLessThanOrEqual(32);
  expect(sizesOf(128, DEFAULTS, NO_CHOICES, 16)).toBeLessThanOrEqual(32);
});
