import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesOf, flopsOf, largestTensor, roofOf, visiblePairs } from '../../bench/cost.ts';
import type { BenchCase } from '../../bench/result.ts';

const of = (op: BenchCase['op'], shape: number[], rest: Partial<BenchCase> = {}): BenchCase => ({
  op,
  shape,
  dtype: 'float32',
  causal: false,
  ...rest,
});

test('visible pairs are those that the formula of the mask lets through', () => {
  const length = fc.integer({ min: 1, max: 24 });
  fc.assert(
    fc.property(length, length, fc.boolean(), fc.option(fc.nat(30), { nil: undefined }), (nq, nk, causal, window) => {
      let pairs = 0;
      for (let i = 0; i < nq; i++) {
        for (let j = 0; j < nk; j++) {
          if ((!causal || j <= i) && (window === undefined || Math.abs(i - j) <= window)) pairs++;
        }
      }
      expect(visiblePairs({ queryLength: nq, keyLength: nk }, { causal, window })).toBe(pairs);
    }),
  );
});

describe('operations', () => {
  test.each([
    ['a product', of('matmul', [3, 4, 5, 6]), 2 * 3 * 4 * 5 * 6],
    ['softmax', of('softmax', [1, 2, 4, 4]), 5 * 2 * 16],
    ['causal softmax', of('softmax', [1, 2, 4, 4], { causal: true }), 5 * 2 * 10],
    ['attention, two products', of('flashAttention', [2, 3, 8, 4]), 2 * 3 * (2 * 8 * 8 * 4) * 2],
    ['causal attention', of('flashAttention', [1, 1, 4, 8], { causal: true }), 4 * 8 * 10],
    ['a window', of('localAttention', [1, 1, 4, 8], { window: 1 }), 4 * 8 * (2 + 3 + 3 + 2)],
    ['one query of many keys', of('flashAttention', [1, 2, 1, 8], { keyLength: 100 }), 4 * 2 * 8 * 100],
    ['shared keys, which save none', of('flashAttention', [1, 4, 8, 8], { kvHeads: 2 }), 4 * 4 * 8 * 64],
    ['keys of other lengths', of('flashAttention', [2, 3, 4, 8], { keyLengths: [3, 4] }), 4 * 3 * 8 * (4 * 3 + 4 * 4)],
    [
      'a window, by a modifier too',
      of('flashAttention', [1, 1, 4, 8], { window: 1, causal: true, via: 'block-mask' }),
      4 * 8 * 7,
    ],
    ['options of single scores, which are not counted', of('flashAttention', [1, 1, 8, 8], { softcap: 2 }), 4 * 8 * 64],
    ['training, seven products', of('flashAttention.train', [1, 2, 8, 4]), 2 * (2 * 8 * 8 * 4) * 7],
    ['training, stored scores no less', of('scaledDotProductAttention.train', [1, 2, 8, 4]), 2 * (2 * 8 * 8 * 4) * 7],
    ['training in a window', of('localAttention.train', [1, 1, 4, 8], { window: 1 }), 14 * 8 * 10],
    ['a cache', of('PagedKeyValueCache.attend', [2, 4, 1, 8], { kvHeads: 2, keyLength: 9 }), 2 * 4 * (4 * 8 * 9)],
    ['an append, none', of('KeyValueCache.append', [2, 4, 1, 8], { keyLength: 9 }), 0],
    ['a merge, a multiply-add for each part', of('mergeAttention', [1, 2, 4, 8], { parts: 3 }), 2 * 3 * 64],
    ['a mask, which is not known before', of('flashAttention', [1, 1, 8, 8], { mask: 'bool' }), 4 * 8 * 64],
    ['a module, four projections', of('SelfAttention', [2, 6, 8], { heads: 2 }), 2 * (4 * 8 * 36 + 4 * 2 * 6 * 64)],
    [
      'cross attention',
      of('CrossAttention', [1, 6, 8], { heads: 2, keyLength: 3 }),
      4 * 8 * 18 + 2 * 64 * (2 * 6 + 2 * 3),
    ],
  ])('of %s', (_name, bench, flops) => expect(flopsOf(bench)).toBe(flops));
});

describe('bytes', () => {
  test.each([
    ['a product', of('matmul', [3, 4, 5, 6]), 4 * 3 * (24 + 30 + 20)],
    ['softmax', of('softmax', [1, 2, 4, 4]), 4 * 2 * (16 + 16)],
    ['causal softmax, which reads half', of('softmax', [1, 2, 4, 4], { causal: true }), 4 * 2 * (10 + 16)],
    ['attention', of('flashAttention', [2, 3, 8, 4]), 4 * 4 * (2 * 3 * 8 * 4)],
    ['attention in float16', of('flashAttention', [2, 3, 8, 4], { dtype: 'float16' }), 2 * 4 * (2 * 3 * 8 * 4)],
    ['shared keys', of('flashAttention', [1, 4, 8, 4], { kvHeads: 2 }), 4 * (2 * 4 * 8 * 4 + 2 * 2 * 8 * 4)],
    ['training, gradients too', of('flashAttention.train', [2, 3, 8, 4]), 2 * 4 * 4 * (2 * 3 * 8 * 4)],
    ['a bool mask', of('flashAttention', [1, 1, 8, 4], { mask: 'bool' }), 4 * 4 * 32 + 64],
    ['a float mask', of('flashAttention', [1, 1, 8, 4], { mask: 'float' }), 4 * 4 * 32 + 4 * 64],
    ['a key mask', of('flashAttention', [2, 1, 8, 4], { mask: 'key' }), 4 * 4 * 2 * 32 + 2 * 8],
    [
      'keys of other lengths',
      of('flashAttention', [2, 3, 4, 8], { keyLengths: [3, 4] }),
      4 * 3 * 8 * (2 * 2 * 4 + 2 * (3 + 4)),
    ],
    [
      'a cache, most of which are its keys and values',
      of('KeyValueCache.attend', [2, 4, 1, 8], { kvHeads: 2, keyLength: 9, dtype: 'float16' }),
      2 * 2 * (2 * 4 * 8 + 2 * 2 * 9 * 8),
    ],
    ['an append, read and written', of('PagedKeyValueCache.append', [2, 4, 1, 8], { keyLength: 9 }), 4 * 2 * 2 * 64],
    [
      'a merge, with log-sum-exps in float32',
      of('mergeAttention', [1, 2, 4, 8], { parts: 3, dtype: 'float16' }),
      4 * (2 * 64 + 4 * 8),
    ],
    ['a module', of('SelfAttention', [1, 6, 8], { heads: 2 }), 4 * (2 * 48 + 4 * (64 + 8))],
    ['three inputs', of('MultiHeadAttention', [1, 6, 8], { heads: 2 }), 4 * (4 * 48 + 4 * (64 + 8))],
  ])('of %s', (_name, bench, bytes) => expect(bytesOf(bench)).toBe(bytes));
});

test.each([
  ['flash attention has no scores', of('flashAttention', [1, 8, 1024, 64]), 4 * 8 * 1024 * 64],
  ['materialised scores', of('scaledDotProductAttention', [1, 8, 1024, 64], { dtype: 'float16' }), 4 * 8 * 1024 * 1024],
  ['scores of training', of('scaledDotProductAttention.train', [1, 8, 1024, 64]), 4 * 8 * 1024 * 1024],
  ['keys of a cache', of('KeyValueCache.append', [1, 8, 1, 64], { keyLength: 4096 }), 4 * 8 * 4096 * 64],
  ['parts side by side', of('mergeAttention', [1, 8, 16, 64], { parts: 3, dtype: 'float16' }), 4 * 3 * 8 * 16 * 64],
  ['the largest operand of a product', of('matmul', [1, 1, 300, 200]), 4 * 300 * 200],
])('largest tensor: %s', (_name, bench, bytes) => expect(largestTensor(bench)).toBe(bytes));

describe('the roof', () => {
  const roof = { f32Gflops: 100, copyGBs: 10, dispatchUs: 1, passUs: 1, submitUs: 1 };

  test.each([
    ['slopes with the bandwidth', roof, 'float32', 2, 20],
    ['is flat where arithmetic is the limit', roof, 'float32', 50, 100],
    ['of float16 is its own rate', { ...roof, f16Gflops: 180 }, 'float16', 50, 180],
    ['of float16 is that of float32 where that is faster', { ...roof, f16Gflops: 15 }, 'float16', 50, 100],
    ['of float16 without float16 arithmetic', roof, 'float16', 50, 100],
  ] as const)('%s', (_name, measured, dtype, intensity, gflops) => {
    expect(roofOf(measured, dtype, intensity)).toBe(gflops);
  });
});
