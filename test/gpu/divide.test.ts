import { describe, expect, test } from 'vitest';
import { divide } from '../../src/gpu/divide.ts';
import type { Launch } from '../../src/gpu/runtime.ts';

const launch = (groups: number, operations?: number): Launch => ({
  shader: { name: 'test', text: '', parts: [] },
  constants: {},
  params: { first_group: 0, end_group: groups, rows: 3 },
  workgroups: [groups, 1, 1],
  ...(operations !== undefined && { operations }),
});
const ranges = (pieces: readonly Launch[]) => pieces.map(({ params }) => [params['first_group'], params['end_group']]);

describe('divide', () => {
  test('keeps a launch whole that is short, or that does not say how long it is', () => {
    const short = launch(10, 100);
    expect(divide(short, 100, 65535)).toEqual([short]);
    expect(divide(short, Infinity, 65535)).toEqual([short]);
    const silent = launch(10);
    expect(divide(silent, 1, 65535)).toEqual([silent]);
  });

  test('makes ranges of workgroups that follow each other, of at most so many operations', () => {
    const pieces = divide(launch(10, 100), 30, 65535);
    expect(ranges(pieces)).toEqual([
      [0, 3],
      [3, 6],
      [6, 9],
      [9, 10],
    ]);
    expect(pieces.map(({ workgroups }) => workgroups[0])).toEqual([3, 3, 3, 1]);
    expect(pieces.map(({ operations }) => operations)).toEqual([30, 30, 30, 10]);
    expect(pieces.every(({ params }) => params['rows'] === 3)).toBe(true);
  });

  test('leaves one workgroup where that has more', () => {
    expect(ranges(divide(launch(3, 300), 1, 65535))).toEqual([
      [0, 1],
      [1, 2],
      [2, 3],
    ]);
  });

  test('folds a range that is longer than a dimension', () => {
    const pieces = divide(launch(200_000, 2), 1, 65535);
    expect(ranges(pieces)).toEqual([
      [0, 100_000],
      [100_000, 200_000],
    ]);
    expect(pieces[1].workgroups).toEqual([50_000, 2, 1]);
  });
});
