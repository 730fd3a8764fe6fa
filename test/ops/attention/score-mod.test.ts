/** What modifiers are made of; what they do to attention is in score-mod-attention.test.ts. */
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  alibi,
  ArgumentError,
  causalMask,
  documentMask,
  maskMod,
  prefixLm,
  scoreMod,
  slidingWindow,
  softcap,
  type Captures,
  type Device,
  type Tensor,
} from '../../../src/index.ts';
import { testDevice } from '../../device.ts';

const SCORE = `fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 { return score; }`;
const MASK = `fn mask_mod(batch: u32, head: u32, query: u32, key: u32) -> bool { return true; }`;

let device: Device;
const made: Tensor[] = [];
beforeAll(async () => {
  device = await testDevice();
});
afterEach(() => {
  for (const tensor of made.splice(0)) tensor.dispose();
});
function zeros(...shape: number[]): Tensor {
  const tensor = device.zeros(shape);
  made.push(tensor);
  return tensor;
}

describe('a modifier', () => {
  test('keeps what it was made of, and nothing can be changed in it', () => {
    const captures: Record<string, Tensor | number> = { bias: zeros(3), slope: 0.5 };
    const modifier = scoreMod(SCORE, { captures });
    captures['slope'] = 1;
    expect(modifier).toMatchObject({ kind: 'scoreMod', source: SCORE, captures: { slope: 0.5 } });
    expect(Object.isFrozen(modifier)).toBe(true);
    expect(Object.isFrozen(modifier.captures)).toBe(true);
    expect(maskMod(MASK)).toMatchObject({ kind: 'maskMod', source: MASK, captures: {} });
  });

  test('is refused with the line and column of what is wrong', () => {
    const source = SCORE.replace('{ return score; }', '{\n  return score + params.scale;\n}');
    expect(() => scoreMod(source)).toThrow(new ArgumentError("scoreMod: line 2, column 18: unknown name 'params'"));
    expect(() => maskMod(SCORE)).toThrow(
      new ArgumentError('maskMod: line 1, column 1: the source must declare fn mask_mod(u32, u32, u32, u32) -> bool'),
    );
    expect(() => maskMod(MASK.replace('u32) -> bool', 'i32) -> bool'))).toThrow(
      new ArgumentError('maskMod: line 1, column 4: the function must be fn mask_mod(u32, u32, u32, u32) -> bool'),
    );
  });

  const numbers = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`n${i}`, i]));
  test.each<[string, () => unknown, string]>([
    [
      'a source that is no text',
      () => scoreMod(((s: number) => s) as never),
      'source must be WGSL as a string, got a JavaScript function',
    ],
    [
      'unknown options',
      () => scoreMod(SCORE, { capture: {} } as never),
      "unknown option 'capture'; did you mean 'captures'?",
    ],
    [
      'captures that are no object',
      () => scoreMod(SCORE, { captures: null as never }),
      'captures must be an object of tensors and numbers, got null',
    ],
    [
      'a capture that is neither',
      () => scoreMod(SCORE, { captures: { a: 'x' as never } }),
      "captures.a must be a Tensor or a number, got 'x'",
    ],
    [
      'a number that f32 does not hold',
      () => scoreMod(SCORE, { captures: { a: 1e39 } }),
      'captures.a must be a finite number, got 1e+39',
    ],
    [
      'a name that is none in WGSL',
      () => scoreMod(SCORE, { captures: { 'a-b': 1 } }),
      "captures must have names that are valid in WGSL, got 'a-b'",
    ],
    [
      'a word of WGSL',
      () => scoreMod(SCORE, { captures: { for: 1 } }),
      "captures must have names that are valid in WGSL, got 'for'",
    ],
    [
      'too many axes',
      () => scoreMod(SCORE, { captures: { a: zeros(1, 1, 1, 1, 2) } }),
      'captures.a must have at most 4 axes, got [1, 1, 1, 1, 2]',
    ],
    [
      'too many tensors',
      () => scoreMod(SCORE, { captures: captureEach('abcde') }),
      'captures must be at most 4 tensors, got 5',
    ],
    ['too many numbers', () => scoreMod(SCORE, { captures: numbers }), 'captures must be at most 8 numbers, got 9'],
  ])('is refused with %s', (_name, make, message) => {
    expect(make).toThrow(new ArgumentError(`scoreMod: ${message}`));
  });

  function captureEach(names: string): Captures {
    return Object.fromEntries(names.split('').map((name) => [name, zeros(1)]));
  }

  test('is refused with a disposed tensor', () => {
    const bias = zeros(2, 2);
    bias.dispose();
    expect(() => maskMod(MASK, { captures: { bias } })).toThrow(
      new ArgumentError('maskMod: captures.bias must not be disposed, got a disposed tensor of [2, 2]'),
    );
  });

  test('may have names of WGSL functions for its captures, and four tensors and eight numbers', () => {
    const source = SCORE.replace('return score;', 'return score + length() + f32(distance(key));');
    expect(() => scoreMod(source, { captures: { length: 1, distance: zeros(4) } })).not.toThrow();
    expect(() => scoreMod(SCORE, { captures: { ...captureEach('abcd'), ...numbers, n8: zeros(1) } })).toThrow('5');
    const { n8: _, ...eight } = numbers;
    expect(() => scoreMod(SCORE, { captures: { ...captureEach('abcd'), ...eight } })).not.toThrow();
  });
});

describe('ready-made modifiers refuse', () => {
  test.each<[string, () => unknown]>([
    ['causalMask: offset must be an integer, got 0.5', () => causalMask({ offset: 0.5 })],
    ["causalMask: unknown option 'ofset'; did you mean 'offset'?", () => causalMask({ ofset: 1 } as never)],
    ['slidingWindow: size must be a whole number from 0 to 16777216, got -1', () => slidingWindow(-1)],
    ['slidingWindow: size must be a whole number from 0 to 16777216, got 16777217', () => slidingWindow(2 ** 24 + 1)],
    ['prefixLm: prefix must be a whole number from 0 to 16777216, got 1.5', () => prefixLm(1.5)],
    ['prefixLm: prefix must be int32 or uint32, got float32', () => prefixLm(zeros(2))],
    ['documentMask: documents must be int32 or uint32, got float32', () => documentMask(zeros(2))],
    ['documentMask: isCausal must be true or false, got 1', () => documentMask(ids(2), { isCausal: 1 as never })],
    ['documentMask: documents must have 1 or 2 axes, got [1, 1, 2]', () => documentMask(ids(1, 1, 2))],
    ['prefixLm: prefix must have 1 axes, got [1, 2]', () => prefixLm(ids(1, 2))],
    ['alibi: slopes must be a whole number from 1 to 16777216, got 0', () => alibi(0)],
    ['alibi: slopes must be a float tensor [heads] or a number, got a uint32 tensor of [2]', () => alibi(ids(2))],
    ['softcap: cap must be positive, got 0', () => softcap(0)],
    ['softcap: cap must be a finite number, got NaN', () => softcap(NaN)],
  ])('%s', (message, make) => {
    expect(make).toThrow(new ArgumentError(message));
  });

  function ids(...shape: number[]): Tensor {
    const tensor = device.zeros(shape, { dtype: 'uint32' });
    made.push(tensor);
    return tensor;
  }
});
