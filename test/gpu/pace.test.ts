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
  pace.waited(14, true);
  expect(pace.most).toBe(5e8);
  pace.submitted(1e9, 20);
  pace.waited(20.25, true);
  expect(pace.most).toBe(2e9);
  pace.submitted(1e9, 30);
  pace.waited(1030, true);
  expect(pace.most).toBe(5e8);
});

test('learns nothing from short work, from none, and where pipelines were compiled', () => {
  const pace = new Pace(1e9, 1);
  pace.submitted(1e7, 0);
  pace.waited(100, true);
  pace.waited(200, true);
  pace.submitted(1e10, 300);
  pace.waited(301, false);
  expect(pace.most).toBe(1e9);
});
