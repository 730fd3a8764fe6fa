import { expect, test } from 'vitest';
import { Pace } from '../../src/gpu/pace.ts';

test('allows what the rate computes in the time', () => {
  expect(new Pace(1e9, 0.5).most).toBe(5e8);
  expect(new Pace(1e9, Infinity).most).toBe(Infinity);
});

test('follows the rate that is seen, by at most four times a wait', () => {
  const pace = new Pace(1e9, 1);
  pace.submitted(1e9, 10);
  pace.submitted(1e9, 11); // both are waited for, from the first on
  pace.ended(pace.mark, 14, true);
  expect(pace.most).toBe(5e8);
  pace.submitted(1e9, 20);
  pace.ended(pace.mark, 20.25, true);
  expect(pace.most).toBe(2e9);
  pace.submitted(1e9, 30);
  pace.ended(pace.mark, 1030, true);
  expect(pace.most).toBe(5e8);
});

test('credits a wait only with what it waited for', () => {
  const pace = new Pace(1e9, 1);
  pace.submitted(1e9, 0);
  const first = pace.mark;
  pace.submitted(4e9, 0.5);
  expect(pace.ended(first, 1, true)).toBe(true);
  expect(pace.most).toBe(1e9);
  expect(pace.progress).toEqual({ done: 1e9, total: 5e9 });
  expect(pace.ended(first, 2, true)).toBe(false); // another wait for the same
  pace.ended(pace.mark, 3, true); // four in the two seconds since the first ended
  expect(pace.most).toBe(2e9);
  expect(pace.progress).toEqual({ done: 5e9, total: 5e9 });
  pace.submitted(1, 10);
  expect(pace.progress).toEqual({ done: 0, total: 1 });
});

test('is never raised by upper bounds, and may be lowered by them', () => {
  const pace = new Pace(1e9, 1);
  pace.submitted(9e9, 0, false);
  pace.ended(pace.mark, 1, true);
  expect(pace.most).toBe(1e9);
  pace.submitted(1e9, 10, false);
  pace.ended(pace.mark, 12, true);
  expect(pace.most).toBe(5e8);
});

test('learns nothing from short work, from none, and where pipelines were compiled', () => {
  const pace = new Pace(1e9, 1);
  pace.submitted(1e7, 0);
  pace.ended(pace.mark, 100, true);
  pace.ended(pace.mark, 200, true);
  pace.submitted(1e10, 300);
  pace.ended(pace.mark, 301, false);
  expect(pace.most).toBe(1e9);
});
