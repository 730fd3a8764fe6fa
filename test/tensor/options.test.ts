import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../src/index.ts';
import { checkOptions, nearest } from '../../src/tensor/options.ts';

const KNOWN = ['mask', 'keyMask', 'isCausal', 'scale', 'returnLogSumExp', 'blockSize'];

describe('nearest', () => {
  test.each([
    ['casual', 'isCausal'],
    ['causal', 'isCausal'],
    ['iscausal', 'isCausal'],
    ['is_causal', 'isCausal'],
    ['masks', 'mask'],
    ['Scale', 'scale'],
    ['sclae', 'scale'],
    ['keymask', 'keyMask'],
    ['key_mask', 'keyMask'],
    ['block_size', 'blockSize'],
    ['returnLogsumexp', 'returnLogSumExp'],
    ['retrunLogSumExp', 'returnLogSumExp'],
  ])('%s → %s', (word, expected) => {
    expect(nearest(word, KNOWN)).toBe(expected);
  });

  test.each(['dropout', 'temperature', 'x', ''])('%j is like none', (word) => {
    expect(nearest(word, KNOWN)).toBeUndefined();
  });
});

describe('checkOptions', () => {
  test('takes known options, and none', () => {
    checkOptions('op', {}, KNOWN);
    checkOptions('op', { mask: undefined, scale: 1 }, KNOWN);
  });

  test('names the nearest option, or all', () => {
    expect(() => checkOptions('op', { scale: 1, casual: true }, KNOWN)).toThrow(
      new ArgumentError("op: unknown option 'casual'; did you mean 'isCausal'?"),
    );
    expect(() => checkOptions('op', { temperature: 1 }, ['mask', 'scale'])).toThrow(
      new ArgumentError("op: unknown option 'temperature'; known options are mask, scale"),
    );
  });

  test.each([
    [null, 'null'],
    [true, 'true'],
    ['mask', 'mask'],
    [[1, 2], '1,2'],
  ])('refuses %j for options', (options, got) => {
    expect(() => checkOptions('op', options as object, KNOWN)).toThrow(
      new ArgumentError(`op: options must be an object, got ${got}`),
    );
  });
});
