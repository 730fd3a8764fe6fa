import { expect, test } from 'vitest';
import { compareResults } from '../../bench/compare.ts';
import { caseOf, resultOf, timing } from './results.ts';

const compareOne = (before: Parameters<typeof caseOf>[1], after: Parameters<typeof caseOf>[1], threshold = 0.05) =>
  compareResults(resultOf([caseOf('a', before)]), resultOf([caseOf('a', after)]), threshold);

test.each([
  ['faster', 10, 8, 0.01, 'faster'],
  ['slower', 10, 12, 0.01, 'slower'],
  ['slower, but its interval overlaps', 10, 12, 0.15, 'same'],
  ['surely slower, but not worth a word', 10, 10.2, 0.001, 'same'],
])('%s', (_name, before, after, noise, verdict) => {
  const [change] = compareOne({ gpu: timing(before, noise) }, { gpu: timing(after, noise) }).changes;
  expect(change.verdict).toBe(verdict);
  expect(change.change).toBeCloseTo(after / before - 1);
});

test('a regression is slower by more than the threshold', () => {
  const [before, after] = [{ gpu: timing(10) }, { gpu: timing(11) }];
  expect(compareOne(before, after).regressions).toEqual(['a is 10 % slower']);
  expect(compareOne(before, after, 0.2).regressions).toEqual([]);
  expect(compareOne(after, before).regressions).toEqual([]);
});

test('a threshold below the smallest reported change is respected', () => {
  const [before, after] = [{ gpu: timing(10, 0.001) }, { gpu: timing(10.2, 0.001) }];
  expect(compareOne(before, after, 0.01).regressions).toEqual(['a is 2 % slower']);
});

test('wall times serve where one of the two has no GPU times', () => {
  const { changes } = compareOne({ wall: timing(10) }, { gpu: undefined, wall: timing(20) });
  expect(changes).toMatchObject([{ before: { median: 10 }, after: { median: 20 }, verdict: 'slower' }]);
});

test('tells the cases that only one of them has, and those that fail now', () => {
  const failures = [
    { name: 'b', reason: 'wrong' },
    { name: 'd', reason: 'new and wrong' },
  ];
  const { changes, onlyBefore, onlyAfter, regressions } = compareResults(
    resultOf([caseOf('a'), caseOf('b')]),
    resultOf([caseOf('c'), caseOf('a')], { failures }),
    0.05,
  );
  expect(changes.map(({ name }) => name)).toEqual(['a']);
  expect(onlyBefore).toEqual(['b']);
  expect(onlyAfter).toEqual(['c']);
  expect(regressions).toEqual(['b fails']);
});

test('tells what else differs', () => {
  const before = resultOf([]);
  const after = resultOf([], {
    device: { ...before.device, name: 'Another GPU' },
    versions: { package: '2.0.0', runtime: 'node 22.0.0' },
  });
  expect(compareResults(before, before, 0).differences).toEqual([]);
  expect(compareResults(before, after, 0).differences).toEqual([
    'device: Some GPU before, Another GPU after',
    'runtime: node 20.0.0 before, node 22.0.0 after',
    'webgpu: webgpu 0.1.0 before, none after',
  ]);
});
