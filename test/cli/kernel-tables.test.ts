import { describe, expect, test } from 'vitest';
import { attentionKernels, joinRanges, joinRows, matmulKernels } from '../../src/cli/kernel-tables.ts';
import type { Device } from '../../src/index.ts';
import type { KernelChoices } from '../../src/tensor/traits.ts';
import { CPU_DRIVER, DEFAULTS } from '../kernels/problems.ts';

const NOTHING: KernelChoices = { pinned: new Map(), tuned: new Map() };

/** The cells of each row. The lines of a cell with several lines are separate rows. */
function cellsOf(drawn: string): string[][] {
  const lines = drawn.split('\n').filter((line) => line.startsWith('│'));
  return lines.slice(1).map((line) =>
    line
      .split('│')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const deviceOf = (traits: typeof DEFAULTS, kernels = NOTHING) => ({ traits, kernels }) as Device;

describe('the table of attention', () => {
  test('has one row for all that are alike', () => {
    // enough for all of Q in every tile
    const large = { ...DEFAULTS, maxComputeWorkgroupStorageSize: 65_536, vendor: 'nvidia' };
    const cells = cellsOf(attentionKernels(deviceOf(large)));
    expect(cells.map((row) => row.slice(0, 4))).toEqual([
      ['flashAttention', 'float32', '1 to 128', 'register-64x64-4x8'],
      ['localAttention', 'float16', '', ''],
      ['flashAttention', 'float32', '129 to 256', 'register-32x128-4x8'],
      ['localAttention', 'float16', '', ''],
      ['attentionGradient', 'float32', '1 to 64', 'register-32x64-4x8'],
      ['', 'float16', '', ''],
      ['attentionGradient', 'float32', '65 to 128', 'register-16x128-4x8'],
      ['', 'float16', '', ''],
      ['attentionGradient', 'float32', '129 to 256', 'tile-32x32'],
      ['', 'float16', '', ''],
    ]);
  });

  test('says what was tuned and pinned', () => {
    const kernels = {
      pinned: new Map([['localAttention', 'tile-8x32']]),
      tuned: new Map([['flashAttention/float16/64', { kernel: 'tile-32x32', date: '2026-03-01' }]]),
    };
    const rows = cellsOf(attentionKernels(deviceOf(CPU_DRIVER, kernels))).map((cells) => cells.join(' | '));
    expect(rows).toContain(
      'flashAttention | float16 | 33 to 64 | tile-32x32 | 32 queries × 32 keys | chosen by tune() on 2026-03-01',
    );
    expect(rows).toContain('localAttention | float32 | 1 to 256 | tile-8x32 | 8 queries × 32 keys | pinned');
  });
});

test('the table of matmul has a row for each class of sizes whose kernel is another', () => {
  expect(cellsOf(matmulKernels(deviceOf(DEFAULTS))).map((row) => row.slice(0, 3))).toEqual([
    ['at most 32 rows or columns', 'float32', 'tile-32x32'],
    ['', 'float16', ''],
    ['fewer than 256 blocks of 64 × 64', 'float32', 'tile-32x32'],
    ['', 'float16', ''],
    ['256 blocks or more', 'float32', 'tile-64x64'],
    ['', 'float16', ''],
  ]);
  const onCpu = cellsOf(matmulKernels(deviceOf(CPU_DRIVER)));
  expect(onCpu.map(([products, dtype, kernel]) => [products, dtype, kernel])).toEqual([
    ['at most 32 rows or columns', 'float32', 'subgroup'],
    ['fewer than 256 blocks of 64 × 64', 'float16', ''],
    ['256 blocks or more', '', ''],
  ]);
});

test('rows that differ in one column become one, in place of the first', () => {
  const rows = [
    ['a', '1', 'x'],
    ['b', '1', 'y'],
    ['a', '2', 'x'],
  ];
  expect(joinRows(rows, 1)).toEqual([
    ['a', '1\n2', 'x'],
    ['b', '1', 'y'],
  ]);
  expect(joinRows(rows, 0)).toEqual(rows);
});

test.each([
  [['1 to 32'], '1 to 32'],
  [['1 to 32', '33 to 64', '65 to 128'], '1 to 128'],
  [['1 to 32', '65 to 128', '129 to 256'], '1 to 32, 65 to 256'],
])('the ranges %j are %s', (ranges, joined) => expect(joinRanges(ranges)).toBe(joined));
