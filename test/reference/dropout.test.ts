/** The host's generator against its authors' known answers, and the masks against what dropout promises. */
import { describe, expect, test } from 'vitest';
import { attentionDropout, dropoutKeeps, philox } from './dropout.ts';

describe('philox', () => {
  // from the authors' library, Random123, tests/kat_vectors
  test.each([
    [[0, 0, 0, 0], [0, 0], '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    [
      [2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1],
      [2 ** 32 - 1, 2 ** 32 - 1],
      '408f276d 41c83b0e a20bc7c6 6d5451fd',
    ],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], 'd16cfe09 94fdcceb 5001e420 24126ea1'],
  ] as const)('counter %j, key %j', (counter, key, expected) => {
    expect(
      philox(counter, key)
        .map((word) => word.toString(16).padStart(8, '0'))
        .join(' '),
    ).toBe(expected);
  });
});

describe('masks', () => {
  const kept = (keeps: boolean[]) => keeps.filter(Boolean).length / keeps.length;
  const mask = (p: number, seed: number) => {
    const { keep } = attentionDropout(p, seed, 3);
    return Array.from({ length: 2 * 3 * 20 * 50 }, (_, at) =>
      keep(Math.floor(at / 3000), Math.floor(at / 1000) % 3, Math.floor(at / 50) % 20, at % 50),
    );
  };

  test('keep a share of 1 − p, within four standard deviations', () => {
    for (const p of [0.1, 0.5, 0.9]) {
      for (const keeps of [mask(p, 7), dropoutKeeps(6000, p, 7)]) {
        expect(Math.abs(kept(keeps) - (1 - p))).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / 6000));
      }
    }
  });

  test('keep everything at p = 0, and more at a smaller p', () => {
    expect(kept(mask(0, 7))).toBe(1);
    const [few, many] = [mask(0.6, 7), mask(0.2, 7)];
    expect(few.every((keep, at) => !keep || many[at])).toBe(true);
  });

  test('differ between seeds, in either word of them, and are the same for the same', () => {
    expect(mask(0.5, 7)).toEqual(mask(0.5, 7));
    for (const other of [8, 7 + 2 ** 32]) expect(mask(0.5, other)).not.toEqual(mask(0.5, 7));
  });
});
