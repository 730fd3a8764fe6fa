import { describe, expect, test } from 'vitest';

import { assignPages, PagePool, planAdditions } from '../../src/caches/pages.ts';

describe('PagePool', () => {
  test('gives each page to one holder, lowest first', () => {
    const pool = new PagePool(5);
    expect(pool.take(3)).toEqual([0, 1, 2]);
    expect([pool.size, pool.free]).toEqual([5, 2]);
    expect([0, 1, 2, 3].map((page) => pool.holders(page))).toEqual([1, 1, 1, 0]);
  });

  test('a shared page is free when its last holder releases it', () => {
    const pool = new PagePool(2);
    const [page] = pool.take(1);
    pool.share(page);
    pool.release(page);
    expect([pool.holders(page), pool.free]).toEqual([1, 1]);
    pool.release(page);
    expect([pool.holders(page), pool.free]).toEqual([0, 2]);
  });

  test('pages given back in reverse are taken as before', () => {
    const pool = new PagePool(6);
    pool.take(2);
    const taken = pool.take(3);
    for (const page of taken.toReversed()) pool.release(page);
    expect(pool.take(4)).toEqual([...taken, 5]);
  });

  test('takes nothing when nothing is asked for', () => {
    const pool = new PagePool(3);
    expect(pool.take(0)).toEqual([]);
    expect(pool.free).toBe(3);
  });

  test('grows behind what it has', () => {
    const pool = new PagePool(2);
    pool.take(1);
    pool.grow(4);
    expect([pool.size, pool.free]).toEqual([4, 3]);
    expect(pool.take(3)).toEqual([1, 2, 3]);
  });
});

describe('planAdditions and assignPages', () => {
  const alone = () => 1;

  test('new pages where the last one is full, is not there, or is not wide enough', () => {
    const sequences = [
      { length: 0, pages: [] },
      { length: 8, pages: [3, 5] },
      { length: 5, pages: [7, 1] },
      { length: 5, pages: [2, 6] },
    ];
    const additions = planAdditions(sequences, [1, 4, 3, 4], 4, alone);
    expect(additions.map(({ wanted, copies }) => [wanted, copies])).toEqual([
      [1, false],
      [1, false],
      [0, false],
      [1, false],
    ]);
    expect(assignPages(additions, [10, 11, 12])).toEqual([
      { position: 0, count: 1, pages: [10] },
      { position: 8, count: 4, pages: [11] },
      { position: 5, count: 3, pages: [1] },
      { position: 5, count: 4, pages: [6, 12] },
    ]);
  });

  test('of the holders of a partly filled page, all but the last one get a copy', () => {
    const sequences = [0, 1, 2].map(() => ({ length: 6, pages: [4, 9] }));
    const copies = (holders: number) =>
      planAdditions(sequences, [1, 1, 1], 4, () => holders).map((addition) => addition.copies);
    expect(copies(3)).toEqual([true, true, false]);
    expect(copies(4)).toEqual([true, true, true]);
    const additions = planAdditions(sequences, [1, 4, 1], 4, () => 3);
    expect(assignPages(additions, [20, 21, 22]).map(({ pages }) => pages)).toEqual([[20], [21, 22], [9]]);
  });

  test('a shared page that is full, or not written to, is not copied', () => {
    const sequences = [
      { length: 8, pages: [4, 9] },
      { length: 6, pages: [4, 9] },
    ];
    const additions = planAdditions(sequences, [1, 0], 4, () => 2);
    expect(additions.map(({ copies, wanted }) => [copies, wanted])).toEqual([
      [false, 1],
      [false, 0],
    ]);
    expect(assignPages(additions, [20])).toEqual([
      { position: 8, count: 1, pages: [20] },
      { position: 6, count: 0, pages: [] },
    ]);
  });
});
