import { describe, expect, test } from 'vitest';
import { summarise } from '../../bench/statistics.ts';
import { normal } from '../../src/tensor/random.ts';

describe('summarise', () => {
  test.each([
    [[3], { median: 3, min: 3, max: 3, low: 3, high: 3, runs: 1 }],
    [[5, 1], { median: 3, min: 1, max: 5, low: 1, high: 5, runs: 2 }],
    [[9, 2, 4], { median: 4, min: 2, max: 9, low: 2, high: 9, runs: 3 }],
    [[7, 7, 7, 7], { median: 7, min: 7, max: 7, low: 7, high: 7, runs: 4 }],
  ])('%j', (times, timing) => expect(summarise(times)).toEqual(timing));

  test('leaves its argument alone, and says the same each time and in each order', () => {
    const times = [5, 3, 8, 1, 9, 2, 7];
    const first = summarise(times);
    expect(times).toEqual([5, 3, 8, 1, 9, 2, 7]);
    expect(summarise(times)).toEqual(first);
    expect(summarise(times.toReversed())).toEqual(first);
  });

  test('its interval holds the true median in most samples, and not in all', () => {
    const next = normal(7);
    let held = 0;
    for (let i = 0; i < 200; i++) {
      const { low, median, high } = summarise(Array.from({ length: 25 }, () => 10 + next()));
      expect(low).toBeLessThanOrEqual(median);
      expect(median).toBeLessThanOrEqual(high);
      if (low <= 10 && 10 <= high) held++;
    }
    expect(held / 200).toBeGreaterThan(0.88);
    expect(held / 200).toBeLessThan(0.99);
  });

  test('one disturbed run does not move it', () => {
    const calm = Array.from({ length: 15 }, (_, i) => 10 + 0.01 * i);
    const disturbed = [...calm.slice(0, 14), 500];
    expect(summarise(disturbed).median).toBe(summarise(calm).median);
    expect(summarise(disturbed).high).toBeLessThan(11);
  });
});
