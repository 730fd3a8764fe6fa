import { describe, expect, test } from 'vitest';
import { caseName, QUICK } from '../../bench/cases.ts';
import { chooseCases, type Choice } from '../../bench/choose.ts';
import { ArgumentError } from '../../src/index.ts';

const DEVICE = { isSoftware: false, maxStorageBufferBindingSize: 2 ** 31 };
const namesOf = (choice: Choice) => chooseCases(choice)(DEVICE).map(caseName);

describe('cases', () => {
  test('are the quick ones by default, and more with --full', () => {
    expect(chooseCases({})(DEVICE)).toEqual(QUICK);
    expect(namesOf({ full: true }).length).toBeGreaterThan(2 * QUICK.length);
  });

  test('are chosen by op and by a part of their names', () => {
    expect(new Set(chooseCases({ op: 'matmul' })(DEVICE).map(({ op }) => op))).toEqual(new Set(['matmul']));
    expect(namesOf({ filter: '8×2048x64 CAUSAL' })).toEqual(['flashAttention 1x8x2048x64 causal float32']);
    expect(namesOf({ op: 'localAttention', filter: '8192' })).toEqual(['localAttention 1x8x8192x64 window=64 float32']);
    expect(namesOf({ op: 'flashAttention', filter: 'alibi' })).toEqual([
      'flashAttention 1x8x1024x64 alibi float32',
      'flashAttention 1x8x1024x64 alibi score-mod float32',
    ]);
    expect(namesOf({ filter: 'paged' })).toEqual(['PagedKeyValueCache.attend 1x8x1x64 keys=4096 float32']);
  });

  test.each<[Choice, string]>([
    [
      { filter: 'nonsense' },
      "bench: --filter must match the name of a case, as 'matmul 1x1024x1024x1024 float32', got",
    ],
    [{ filter: '32768' }, "got '32768' (with --full it matches "],
    [
      { op: 'CrossAttention' },
      "bench: --op must be one that is measured by default, got 'CrossAttention' (with --full it matches 2)",
    ],
    [{ op: 'matmul', filter: 'causal' }, "bench: --filter must match the name of a case of matmul, got 'causal'"],
  ])('%j matches none', (choice, message) => {
    expect(() => namesOf(choice)).toThrow(ArgumentError);
    expect(() => namesOf(choice)).toThrow(message);
  });
});

describe('a problem of the user', () => {
  test.each<[Choice, string]>([
    [{ op: 'flashAttention', shape: '1x8x1024x64' }, 'flashAttention 1x8x1024x64 float32'],
    [
      { op: 'flashAttention', shape: '2×3×4×5', dtype: 'float16', causal: true },
      'flashAttention 2x3x4x5 causal float16',
    ],
    [{ op: 'localAttention', shape: '1x8x1024x64', window: '0' }, 'localAttention 1x8x1024x64 window=0 float32'],
    [{ op: 'flashAttention', shape: '1x8x9x64', window: '2' }, 'flashAttention 1x8x9x64 window=2 float32'],
    [{ op: 'flashAttention', shape: '1x8x1x64', keys: '77' }, 'flashAttention 1x8x1x64 keys=77 float32'],
    [
      { op: 'PagedKeyValueCache.attend', shape: '1x8x1x64', keys: '77' },
      'PagedKeyValueCache.attend 1x8x1x64 keys=77 float32',
    ],
    [{ op: 'mergeAttention', shape: '1x2x3x4' }, 'mergeAttention 1x2x3x4 parts=4 float32'],
    [{ op: 'flashAttention.train', shape: '1x2x3x4', causal: true }, 'flashAttention.train 1x2x3x4 causal float32'],
    [{ op: 'localAttention.train', shape: '1x2x30x4', window: '3' }, 'localAttention.train 1x2x30x4 window=3 float32'],
    [{ op: 'SelfAttention', shape: '2x10x512' }, 'SelfAttention 2x10x512 heads=8 float32'],
    [{ op: 'SelfAttention', shape: '2x10x12' }, 'SelfAttention 2x10x12 heads=1 float32'],
    [{ op: 'matmul', shape: '1x2x3x4' }, 'matmul 1x2x3x4 float32'],
  ])('%j', (choice, name) => expect(namesOf(choice)).toEqual([name]));

  test.each<[Choice, string]>([
    [{ shape: '1x2x3x4' }, 'bench: --shape must come with --op, one of matmul, softmax,'],
    [{ op: 'flash' }, "got 'flash' (did you mean flashAttention?)"],
    [{ op: 'mathmul' }, "got 'mathmul' (did you mean matmul?)"],
    [{ op: 'conv' }, 'bench: --op must be one of matmul, softmax, scaledDotProductAttention, flashAttention, '],
    [
      { op: 'flashAttention', shape: '8x1024x64' },
      "bench: --shape of flashAttention must be BxHxNxD, such as 1x8x1024x64, got '8x1024x64'",
    ],
    [
      { op: 'matmul', shape: '1x0x3x4' },
      "--shape of matmul must be batchxMxNxK, such as 1x1024x1024x1024, got '1x0x3x4'",
    ],
    [{ op: 'SelfAttention', shape: '1x2x3x4' }, '--shape of SelfAttention must be BxNxE, such as 1x512x512'],
    [{ op: 'matmul', shape: '1x2x3x4', dtype: 'int8' }, "bench: --dtype must be float32 or float16, got 'int8'"],
    [{ op: 'matmul', shape: '1x2x3x4', causal: true }, '--causal must come with attention or softmax, got matmul'],
    [
      { op: 'matmul', shape: '1x2x3x4', window: '64' },
      'bench: --window must come with an op of attention or LocalAttention, got matmul',
    ],
    [
      { op: 'SelfAttention', shape: '1x2x3', keys: '64' },
      'bench: --keys must come with attention to keys of their own, got SelfAttention',
    ],
    [{ op: 'flashAttention', shape: '1x2x3x4', keys: '0' }, "--keys must be a whole number of 1 or more, got '0'"],
    [{ op: 'flashAttention', keys: '4' }, 'bench: --keys must come with --op and --shape'],
    [
      { op: 'localAttention', shape: '1x2x3x4' },
      '--window of localAttention must be the keys to either side, such as 64',
    ],
    [{ op: 'localAttention', shape: '1x2x3x4', window: '1.5' }, 'got 1.5'],
    [{ op: 'matmul', shape: '1x2x3x4', full: true }, 'bench: --shape must come without --full'],
    [{ op: 'matmul', shape: '1x2x3x4', filter: 'a' }, 'bench: --shape must come without --filter'],
    [{ causal: true }, 'bench: --causal must come with --op and --shape'],
    [{ op: 'flashAttention', dtype: 'float16' }, 'bench: --dtype must come with --op and --shape'],
  ])('%j is refused', (choice, message) => {
    expect(() => chooseCases(choice)).toThrow(ArgumentError);
    expect(() => chooseCases(choice)).toThrow(message);
  });
});
