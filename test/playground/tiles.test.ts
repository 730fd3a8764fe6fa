import { describe, expect, test } from 'vitest';
import { allTiles, keysOf, visitedTiles, type Band, type TiledKernel } from '../../playground/attention/tiles.ts';

const BANDS: Band[] = [1, 5, 8, 27].flatMap((length) =>
  [undefined, 0, 3].flatMap((window) => [true, false].map((isCausal) => ({ length, isCausal, window }))),
);

describe.each<TiledKernel>(['flash', 'local'])('tiles of %s', (kernel) => {
  test.each(BANDS)('cover every visible pair once: %o', (band) => {
    for (const block of [2, 4, 8]) {
      const times = new Map<string, number>();
      for (const { queries, keys } of visitedTiles(kernel, band, block)) {
        for (let query = queries[0]; query < queries[1]; query++) {
          for (let key = keys[0]; key < keys[1]; key++) {
            times.set(`${query},${key}`, (times.get(`${query},${key}`) ?? 0) + 1);
          }
        }
      }
      for (let query = 0; query < band.length; query++) {
        const [first, end] = keysOf(query, band);
        for (let key = first; key < end; key++) expect(times.get(`${query},${key}`)).toBe(1);
      }
      expect([...times.values()].every((count) => count === 1)).toBe(true);
    }
  });

  test('all of them without a band, half of them with a causal one', () => {
    const whole = { length: 16, isCausal: false };
    expect(visitedTiles(kernel, whole, 4)).toHaveLength(allTiles(16, 4));
    expect(visitedTiles(kernel, { ...whole, isCausal: true }, 4)).toHaveLength(10);
  });
});

test('local attention begins at the band, flash attention at a multiple of the block', () => {
  const band = { length: 16, isCausal: true, window: 2 };
  const begins = (kernel: TiledKernel) =>
    visitedTiles(kernel, band, 4).flatMap(({ queries, keys }) => (queries[0] === 8 ? [keys[0]] : []));
  expect(begins('flash')).toEqual([4, 8]);
  expect(begins('local')).toEqual([6, 10]);
});
