import { describe, expect, test } from 'vitest';
import { CPU_DRIVER, DEFAULTS } from '../kernels/problems.ts';
import { tuningProblems } from '../../src/tuning/problems.ts';
import type { TuneOptions } from '../../src/index.ts';

const GPU = { ...DEFAULTS, maxComputeWorkgroupStorageSize: 49_152, maxComputeInvocationsPerWorkgroup: 1024 };
const keysOf = (options: TuneOptions, traits = GPU) => tuningProblems(traits, options).map(({ key }) => key);

describe('the problems that are measured', () => {
  test('are one for each choice that ops look up on a GPU', () => {
    const keys = keysOf({});
    expect(keys).toHaveLength(2 * (4 * 4 + 3));
    expect(new Set(keys).size).toBe(keys.length);
    const attention = keys.filter((key) => !key.startsWith('attentionGradient'));
    expect([...attention.slice(0, 15), ...keys.slice(-8)]).toEqual([
      ...[32, 64, 128, 256].map((dim) => `flashAttention/float32/${dim}`),
      ...[32, 64, 128, 256].map((dim) => `flashAttention/float32/few-${dim}`),
      ...[32, 64, 128, 256].map((dim) => `localAttention/float32/${dim}`),
      ...['narrow', 'few', 'many'].map((size) => `matmul/float32/${size}`),
      ...[32, 64, 128, 256].map((dim) => `attentionGradient/float32/${dim}`),
      ...[32, 64, 128, 256].map((dim) => `attentionGradient/float16/${dim}`),
    ]);
  });

  test('are few on a CPU driver, and small', () => {
    const problems = tuningProblems(CPU_DRIVER, {});
    expect(problems.map(({ sizeClass }) => sizeClass)).toEqual([
      ...[1, 2].flatMap(() => [64, 'few-64', 64, 'narrow', 'few', 'many']),
      64, // gradients
      64,
    ]);
    const elements = (shape: readonly number[]) => shape.reduce((product, length) => product * length, 1);
    for (const { inputs } of problems) expect(Math.max(...inputs.map(elements))).toBeLessThanOrEqual(2 ** 17);
  });

  test.each<[TuneOptions, string[]]>([
    [{ ops: ['matmul'], dtypes: ['float16'] }, ['narrow', 'few', 'many'].map((size) => `matmul/float16/${size}`)],
    [
      { ops: ['flashAttention'], dtypes: ['float32'], headDims: [80, 1, 33, 64, 128] },
      ['32', '64', '128', 'few-32', 'few-64', 'few-128'].map((dim) => `flashAttention/float32/${dim}`),
    ],
    [{ ops: ['attentionGradient'], dtypes: ['float16'], headDims: [80] }, ['attentionGradient/float16/128']],
    [{ ops: ['localAttention'], headDims: [256] }, ['localAttention/float32/256', 'localAttention/float16/256']],
  ])('%j', (options, keys) => {
    expect(keysOf(options)).toEqual(keys);
    expect(keysOf(options, CPU_DRIVER)).toEqual(keys);
  });
});

describe('the kernels that are tried', () => {
  const kernelsOf = (key: string, traits = GPU) =>
    tuningProblems(traits, { headDims: [32, 64, 128, 256] }).find((problem) => problem.key === key)!.kernels;

  test('begin with the default, followed by a tile that suits every device', () => {
    expect(kernelsOf('flashAttention/float32/64').slice(0, 2)).toEqual(['register-32x32-4x4', 'tile-32x32']);
    expect(kernelsOf('flashAttention/float32/256').slice(0, 2)).toEqual(['register-16x64-4x4', 'tile-16x32']);
    expect(kernelsOf('flashAttention/float32/few-64').slice(0, 2)).toEqual(['register-16x64-4x4', 'tile-16x32']);
    expect(kernelsOf('flashAttention/float32/few-64', CPU_DRIVER).slice(0, 2)).toEqual(['stream', 'tile-16x32']);
    expect(kernelsOf('attentionGradient/float32/64', CPU_DRIVER).slice(0, 2)).toEqual(['subgroup', 'tile-32x32']);
    const nvidia = { ...GPU, vendor: 'nvidia' };
    expect(kernelsOf('attentionGradient/float32/64', nvidia)).toEqual([
      'register-32x64-4x8',
      'tile-32x32',
      'register-16x128-4x8',
      'register-64x64-4x8',
    ]);
    expect(kernelsOf('matmul/float32/narrow')[0]).toBe('tile-32x32');
    expect(kernelsOf('matmul/float16/many')[0]).toBe('tile-64x64');
    expect(kernelsOf('flashAttention/float32/64', CPU_DRIVER).slice(0, 2)).toEqual(['subgroup', 'tile-32x32']);
    expect(kernelsOf('matmul/float32/many', CPU_DRIVER).slice(0, 2)).toEqual(['subgroup', 'tile-64x64']);
  });

  test('are several, each named once', () => {
    for (const traits of [DEFAULTS, GPU, CPU_DRIVER, { ...GPU, subgroupSize: 32 }]) {
      for (const { op, sizeClass, kernels } of tuningProblems(traits, {})) {
        expect(new Set(kernels).size).toBe(kernels.length);
        // in 16 KiB only one kernel has gradients of more columns
        if (op !== 'attentionGradient' || Number(sizeClass) <= 64) expect(kernels.length).toBeGreaterThan(1);
        expect(kernels.length).toBeLessThan(25);
      }
    }
  });
});
