import { describe, expect, test } from 'vitest';
import type { ProfiledDispatch } from '../../src/gpu/profiler.ts';
import { storedBytes } from '../../src/tensor/profile.ts';
import { profileOf } from '../../src/tensor/summarise-profile.ts';
import { testDevice } from '../device.ts';

const ROOF = { copyGBs: 10, f32Gflops: 100 };

function dispatch(given: Partial<ProfiledDispatch>): ProfiledDispatch {
  const constants = {};
  const usual = {
    label: 'op',
    kernel: 'shader',
    constants,
    pipeline: 1,
    workgroups: [1, 1, 1] as const,
    share: 1,
    recorded: 0,
  };
  return { ...usual, bytesRead: 0, bytesWritten: 0, gpuStart: 0, gpuTime: 1, ...given };
}

function rowsOf(dispatches: readonly ProfiledDispatch[], isTimed = true) {
  return profileOf('value', { isTimed, dispatches, host: [] }, 'a GPU', { roof: ROOF }).kernels;
}

describe('rows', () => {
  test('a kernel that bytes bound reaches its share of the bandwidth', () => {
    // 4 MB in 1 ms are 4 GB/s
    const [row] = rowsOf([
      dispatch({ bytesRead: 1e6, bytesWritten: 1e6, gpuTime: 0.25 }),
      dispatch({ bytesRead: 1e6, bytesWritten: 1e6, gpuTime: 0.75 }),
    ]);
    expect(row).toMatchObject({ calls: 2, gpuTime: 1, timeShare: 1, bytesRead: 2e6, bytesWritten: 2e6 });
    expect(row.gbs).toBeCloseTo(4, 12);
    expect(row.roofShare).toBeCloseTo(0.4, 12);
    expect(row.gflops).toBeUndefined();
  });

  test('a kernel that operations bound reaches its share of the arithmetic', () => {
    // 50 MFLOP in 1 ms are 50 GFLOP/s
    const [row] = rowsOf([dispatch({ bytesRead: 1e6, operations: 50e6 })]);
    expect(row.gflops).toBeCloseTo(50, 12);
    expect(row.roofShare).toBeCloseTo(0.5, 12);
  });

  test('are of one op and one pipeline, the longest first', () => {
    const rows = rowsOf([
      dispatch({ label: 'a', pipeline: 1 }),
      dispatch({ label: 'b', pipeline: 1, gpuTime: 2 }),
      dispatch({ label: 'a', pipeline: 2, gpuTime: 4 }),
      dispatch({ label: 'a', pipeline: 1 }),
    ]);
    expect(rows.map(({ op, calls, gpuTime, timeShare }) => [op, calls, gpuTime, timeShare])).toEqual([
      ['a', 1, 4, 0.5],
      ['a', 2, 2, 0.25],
      ['b', 1, 2, 0.25],
    ]);
  });

  test('a call that was divided is one call', () => {
    expect(rowsOf([dispatch({ share: 0.5 }), dispatch({ share: 0.5 })])).toMatchObject([{ calls: 1, gpuTime: 2 }]);
  });

  test('without a clock, or with one that is too coarse, have no rates', () => {
    const none = { timeShare: undefined, gbs: undefined, gflops: undefined, roofShare: undefined };
    expect(rowsOf([dispatch({ operations: 1, gpuTime: undefined })], false)).toMatchObject([
      { gpuTime: undefined, ...none },
    ]);
    expect(rowsOf([dispatch({ operations: 1, gpuTime: 0 })])).toMatchObject([{ gpuTime: 0, ...none }]);
  });
});

test('a tensor counts with the elements that it has in memory', async () => {
  const device = await testDevice();
  const x = device.zeros([3, 1, 8]);
  const half = device.zeros([3, 5], { dtype: 'float16' });
  const bytes = storedBytes({ x, wide: x.expand([3, 7, 8]), part: x.slice(2, 2, 4), half, absent: undefined });
  expect(bytes).toEqual({ x: 96, wide: 96, part: 24, half: 30, absent: undefined });
  x.dispose();
  half.dispose();
});
