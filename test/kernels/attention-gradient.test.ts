/** Which kernels compute the gradient of attention, and how their work is divided. */
import { describe, expect, test } from 'vitest';
import {
  chooseAttentionGradient,
  planKeyGradient,
  planMaskGradient,
  planMergeGradient,
  planQueryGradient,
  planRowStatistics,
  planSinksGradient,
  type AttentionGradientProblem,
  type GradientSide,
  type MergeGradientProblem,
} from '../../src/kernels/attention-gradient.ts';
import { NO_CHOICES } from '../../src/kernels/choice.ts';
import { UNBOUNDED } from '../../src/ops/attention/internal/options.ts';
import type { Traits } from '../../src/tensor/traits.ts';
import type { Band } from './count-tiles.ts';
import { attentionProblem, CPU_DRIVER, DEFAULTS as UNKNOWN, dense, frozen, NO_OPTIONS } from './problems.ts';

function gradientProblem(given: Partial<AttentionGradientProblem> = {}): AttentionGradientProblem {
  const problem = attentionProblem(given);
  const { batch, heads, queryLength, valueDim } = problem;
  return { ...problem, dOutput: dense(batch, heads, queryLength, valueDim), statsAt: 0, ...given };
}

/** A CPU driver whose subgroups are too small: tiles. */
const SMALL_SUBGROUPS: Traits = { ...CPU_DRIVER, subgroupSize: 4 };
/** With 255 registers for a lane. */
const DEFAULTS: Traits = { ...UNKNOWN, vendor: 'nvidia' };
const GPU_32_KIB: Traits = { ...DEFAULTS, maxComputeWorkgroupStorageSize: 32_768 };

function plan(given: Partial<AttentionGradientProblem>, traits: Traits = SMALL_SUBGROUPS) {
  const problem = frozen(gradientProblem(given));
  const { batch, heads, kvHeads, queryLength, keyLength, headDim, valueDim } = problem;
  const dKey = dense(batch, kvHeads, keyLength, headDim);
  const dValue = { ...dense(batch, kvHeads, keyLength, valueDim), offset: batch * kvHeads * keyLength * headDim };
  return {
    query: planQueryGradient(problem, dense(batch, heads, queryLength, headDim), traits),
    key: planKeyGradient(problem, { dKey, dValue }, traits),
  };
}

describe('the kernels', () => {
  const nameOf = (
    traits: Traits,
    pinned?: string,
    given: Partial<AttentionGradientProblem> = {},
    side: GradientSide = 'query',
  ) => {
    const choices = { ...NO_CHOICES, pinned: new Map(pinned ? [['flashAttention', pinned]] : []) };
    return chooseAttentionGradient(gradientProblem(given), side, traits, choices).variant.name;
  };

  test('are tiles where subgroups are small, and subgroups on other CPU drivers', () => {
    expect(nameOf(SMALL_SUBGROUPS)).toBe('tile-32x32');
    expect(nameOf(CPU_DRIVER)).toBe('subgroup');
    expect(nameOf(CPU_DRIVER, undefined, { headDim: 300 })).toBe('tile-32x32');
  });

  test.each<[number, string, string]>([
    [16, 'register-32x64-4x8', 'register-32x64-4x8'],
    [64, 'register-16x128-4x8', 'register-32x64-4x8'],
    [96, 'tile-32x32', 'register-16x128-4x8'],
    [128, 'tile-32x32', 'register-16x128-4x8'],
    [129, 'tile-32x32', 'tile-32x32'],
  ])('on a GPU with 16 KiB, and with 32, for %i columns: %s, %s', (headDim, small, large) => {
    for (const side of ['query', 'key'] as const) {
      expect(nameOf(DEFAULTS, undefined, { headDim }, side)).toBe(small);
      expect(nameOf(GPU_32_KIB, undefined, { headDim }, side)).toBe(large);
      const traits = { ...GPU_32_KIB, maxComputeWorkgroupStorageSize: 65_536 };
      expect(nameOf(traits, undefined, { headDim }, side)).toBe(large);
    }
  });

  test('for a key’s sums of two kinds there are fewer registers and less memory', () => {
    const given = { headDim: 64, valueDim: 128 };
    expect(nameOf(GPU_32_KIB, undefined, given, 'query')).toBe('register-32x64-4x8');
    expect(nameOf(GPU_32_KIB, undefined, given, 'key')).toBe('register-16x128-4x8');
    const dropout = { options: { ...NO_OPTIONS, constants: { HAS_DROPOUT: true } } };
    expect(nameOf(DEFAULTS, undefined, dropout, 'query')).toBe('register-16x128-4x8');
    expect(nameOf(DEFAULTS, undefined, dropout, 'key')).toBe('tile-32x32');
  });

  test('do not straddle the blocks of a block mask', () => {
    const nameIn = (maskBlock: number) => nameOf(GPU_32_KIB, undefined, { options: { ...NO_OPTIONS, maskBlock } });
    expect(nameIn(128)).toBe('register-32x64-4x8');
    expect(nameIn(32)).toBe('tile-32x32');
  });

  test('are of the family that the op is pinned to, where it has them', () => {
    expect(nameOf(CPU_DRIVER, 'tile-16x32')).toBe('tile-32x32');
    expect(nameOf(DEFAULTS, 'tile-16x32')).toBe('tile-32x32');
    for (const vendor of ['apple', undefined]) expect(nameOf({ ...GPU_32_KIB, vendor })).toBe('tile-32x32');
    expect(nameOf({ ...DEFAULTS, subgroupSize: 8 }, 'subgroup')).toBe('subgroup');
    expect(nameOf(DEFAULTS, 'subgroup')).toBe('register-16x128-4x8');
    expect(nameOf(CPU_DRIVER, 'stream')).toBe('subgroup');
    expect(nameOf(CPU_DRIVER, 'register-16x128-4x8')).toBe('register-32x64-4x8');
  });

  test('are those that are pinned, or tuned, if they can compute the problem', () => {
    const chosen = (
      traits: Traits,
      { pinned, tuned, headDim = 64 }: { pinned?: string; tuned?: string; headDim?: number },
    ) =>
      chooseAttentionGradient(gradientProblem({ headDim }), 'query', traits, {
        pinned: new Map(pinned ? [['attentionGradient', pinned]] : []),
        tuned: new Map(tuned ? [['attentionGradient/float32/64', { kernel: tuned, date: '2026-11-23' }]] : []),
      });
    expect(chosen(CPU_DRIVER, { tuned: 'tile-32x32' })).toMatchObject({
      variant: { name: 'tile-32x32' },
      reason: 'chosen by tune() on 2026-11-23',
    });
    expect(chosen(CPU_DRIVER, { tuned: 'tile-32x32', pinned: 'register-16x128-4x8' }).variant.name).toBe(
      'register-16x128-4x8',
    );
    expect(chosen(CPU_DRIVER, { tuned: 'register-32x64-4x8', headDim: 128 }).variant.name).toBe('subgroup');
    // 64 rows want 43 KiB in float32
    expect(chosen(GPU_32_KIB, { pinned: 'register-64x64-4x8' }).variant.name).toBe('register-32x64-4x8');
    const large = { ...GPU_32_KIB, maxComputeWorkgroupStorageSize: 49_152 };
    expect(chosen(large, {}).variant.name).toBe('register-32x64-4x8');
    expect(chosen(large, { pinned: 'register-64x64-4x8' }).variant.name).toBe('register-64x64-4x8');
    // the default of a pinned family needs no more than 32 KiB either
    const forward = { ...NO_CHOICES, pinned: new Map([['flashAttention', 'register-64x64-4x8']]) };
    const { variant } = chooseAttentionGradient(gradientProblem({ headDim: 128 }), 'query', large, forward);
    expect(variant.name).toBe('register-16x128-4x8');
  });
});

describe('tiles', () => {
  test('a workgroup for 32 queries of a head, and for 32 keys of a key head', () => {
    const { query, key } = plan({ batch: 2, heads: 6, kvHeads: 2, queryLength: 70, keyLength: 100 });
    expect(query).toHaveLength(1);
    expect(query[0].params).toMatchObject({
      end_group: 2 * 6 * 3,
      work: { query_tiles: 3, head_tiles: 6 },
      inputs: { group_size: 3 },
    });
    expect(query[0].workgroups).toEqual([36, 1, 1]);
    expect(key).toHaveLength(1);
    expect(key[0].params).toMatchObject({ end_group: 2 * 2 * 4, keys: { key_tiles: 4 }, inputs: { group_size: 3 } });
    expect(key[0].workgroups).toEqual([16, 1, 1]);
  });

  test.each([
    [1, 32, 64, 64],
    [32, 32, 64, 64],
    [33, 64, 64, 64],
    [128, 128, 64, 128],
    [129, 256, 128, 256],
    [256, 256, 128, 256],
  ])('%i columns: registers for %i, and %i and %i invocations', (columns, dim, ofQuery, ofKey) => {
    const { query, key } = plan({ headDim: columns, valueDim: 1 });
    expect(query[0].constants).toMatchObject({ DIM: dim, OWN_ROWS: 32, WORKGROUP: ofQuery });
    expect(key[0].constants).toMatchObject({ DIM: dim, OWN_ROWS: 32, WORKGROUP: ofKey });
    expect(plan({ headDim: 1, valueDim: columns }).key[0].constants).toEqual(key[0].constants);
    expect(plan({ headDim: 1, valueDim: columns }).query[0].constants).toMatchObject({ DIM: 32, WORKGROUP: 64 });
  });

  test('more head dims in several launches', () => {
    const { query, key } = plan({ headDim: 600, valueDim: 100 });
    expect(query.map(({ params, constants }) => [params['first_column'], constants['DIM']])).toEqual([
      [0, 256],
      [256, 256],
      [512, 128],
    ]);
    expect(key.map(({ params }) => params['first_column'])).toEqual([0, 256, 512]);
  });

  test('fit the workgroup memory that WebGPU promises, with dropout too', () => {
    // own and other chunk and a tile of 32 rows of nine vectors, a bit for each weight of four keys, a flag
    expect(3 * 32 * 9 * 16 + 4 * (1 + 32 * 8) + 16).toBeLessThanOrEqual(16_384);
  });

  test('say where statistics and gradients lie, and which operands may be read by quads', () => {
    const { query, key } = plan({ batch: 2, heads: 3, queryLength: 5, statsAt: 7, headDim: 8, valueDim: 6 });
    expect(query[0].params).toMatchObject({
      inputs: { q: { vectors: 1 }, k: { vectors: 1 }, v: { vectors: 0 } },
      gradient: { stats_at: 7, stats_pitch: 30, d_output: { vectors: 0 } },
      queries: { d_query_strides: [120, 40, 8, 1] },
    });
    expect(key[0].params).toMatchObject({ keys: { d_value_at: 240, d_value_strides: [90, 30, 6, 1] } });
  });

  test('of packed sequences, statistics are of the stored rows', () => {
    const options = { ...NO_OPTIONS, isPacked: true };
    const { query } = plan({ batch: 4, heads: 2, queryLength: 10, queryRows: 25, options });
    expect(query[0].params).toMatchObject({ end_group: 8, gradient: { stats_pitch: 50 } });
  });
});

describe('large tiles in registers', () => {
  test('a workgroup for its own rows, with buckets of both dims', () => {
    const sizes = { batch: 2, heads: 6, kvHeads: 2, queryLength: 70, keyLength: 100, headDim: 40, valueDim: 20 };
    const { query, key } = plan(sizes, GPU_32_KIB);
    expect(query).toHaveLength(1);
    expect(query[0].params).toMatchObject({ end_group: 2 * 6 * 3, work: { query_tiles: 3, head_tiles: 6 } });
    expect(query[0].constants).toMatchObject({ DIM: 64, VALUE_DIM: 32, BLOCK_Q: 32, BLOCK_K: 64, ROWS: 4, KEYS: 8 });
    expect(key).toHaveLength(1);
    expect(key[0].params).toMatchObject({ end_group: 2 * 2 * 4, keys: { key_tiles: 4 } });
    expect(key[0].constants).toMatchObject({ DIM: 64, VALUE_DIM: 32, BLOCK_Q: 64, BLOCK_K: 32, KEYS: 4, QUERIES: 8 });
    for (const { constants } of [...query, ...key]) expect(constants['WORKGROUP']).toBe(64);
  });

  test('a chunk is 4 KiB of dims, and 16 rows or as many as give each lane a vector', () => {
    const check = (given: Partial<AttentionGradientProblem>, quads: number, rows: number) => {
      const { query, key } = plan(given, GPU_32_KIB);
      expect(query[0].constants).toMatchObject({ STEP_QUADS: quads, STEP_KEYS: rows });
      expect(key[0].constants).toMatchObject({ STEP_QUADS: quads, STEP_QUERIES: rows });
    };
    check({}, 4, 16);
    check({ headDim: 32 }, 4, 16);
    check({ dtype: 'float16' }, 8, 16);
    check({ headDim: 128 }, 2, 16);
  });

  test('a constant says that the rows that a workgroup walks are whole vectors', () => {
    const walks = (given: Partial<AttentionGradientProblem>) => {
      const { query, key } = plan(given, GPU_32_KIB);
      return [query, key].map(([{ constants }]) => constants['VECTORS'] ?? false);
    };
    const repeated = { strides: [0, 0, 0, 0], offset: 0 };
    expect(walks({})).toEqual([true, true]);
    expect(walks({ dtype: 'float16', headDim: 8 })).toEqual([true, true]);
    expect(walks({ dtype: 'float16', headDim: 12 })).toEqual([false, false]);
    expect(walks({ valueDim: 6 })).toEqual([false, false]);
    expect(walks({ v: repeated })).toEqual([false, true]);
    expect(walks({ dOutput: repeated })).toEqual([true, false]);
  });
});

test('on CPU drivers a constant says which operands are read without branches', () => {
  const constants = (given: Partial<AttentionGradientProblem>) => {
    const { query, key } = plan({ headDim: 8, valueDim: 12, queryLength: 5, ...given }, CPU_DRIVER);
    expect(key[0].constants).toEqual(query[0].constants);
    return query[0].constants;
  };
  expect(constants({})).toMatchObject({ ALIGNED: true, D_OUTPUT_ALIGNED: true });
  const repeated = constants({ dOutput: { strides: [0, 0, 0, 0], offset: 0 } });
  expect(repeated).toMatchObject({ ALIGNED: true });
  expect(repeated).not.toHaveProperty('D_OUTPUT_ALIGNED');
  const oddHeadDim = constants({ headDim: 6 });
  expect(oddHeadDim).toMatchObject({ D_OUTPUT_ALIGNED: true });
  expect(oddHeadDim).not.toHaveProperty('ALIGNED');
  expect(constants({ valueDim: 6 })).not.toHaveProperty('D_OUTPUT_ALIGNED');
});

describe('a mask’s gradient', () => {
  const launch = (...lengths: number[]) =>
    planMaskGradient(
      gradientProblem({ batch: 2, heads: 3, queryLength: 70, keyLength: 40 }),
      { lengths, strides: dense(...lengths).strides },
      DEFAULTS,
    ).params;

  test('has a workgroup for 32 × 32 of its own elements', () => {
    expect(launch(2, 3, 70, 40)).toMatchObject({
      end_group: 2 * 3 * 3 * 2,
      query_tiles: 3,
      key_tiles: 2,
      mask_heads: 3,
    });
    expect(launch(1, 3, 1, 40)).toMatchObject({ end_group: 3 * 2, query_tiles: 1, key_tiles: 2, mask_heads: 3 });
    expect(launch(1, 1, 1, 1)).toMatchObject({ end_group: 1 });
  });

  test('has stride 0 along summed axes', () => {
    expect(launch(2, 1, 70, 1)['d_mask_strides']).toEqual([70, 0, 1, 0]);
  });
});

test('statistics: neighbours share a row on GPUs, a lane has its own on CPU drivers', () => {
  const problem = {
    op: 'test',
    batch: 2,
    heads: 3,
    length: 50,
    valueDim: 8,
    dtype: 'float32' as const,
    output: dense(2, 3, 50, 8),
    dOutput: dense(2, 3, 50, 8),
    statsAt: 4,
  };
  const onGpu = planRowStatistics(problem, DEFAULTS);
  expect(onGpu.constants['LANES']).toBe(8);
  expect(onGpu.params).toMatchObject({ groups: Math.ceil(300 / 8), rows: 300, has_d_output: 1, has_d_log_sum_exp: 0 });
  const onCpu = planRowStatistics({ ...problem, dOutput: undefined, dLogSumExp: dense(2, 3, 50) }, CPU_DRIVER);
  expect(onCpu.constants['LANES']).toBe(1);
  expect(onCpu.params).toMatchObject({ groups: Math.ceil(300 / 64), has_d_output: 0, has_d_log_sum_exp: 1 });
});

test('sinks: a workgroup for each head', () => {
  const launch = planSinksGradient({ op: 'test', batch: 2, heads: 3, length: 50, statsAt: 4, sinksAt: 1 }, DEFAULTS);
  expect(launch.params).toMatchObject({ groups: 3, rows: 100, stats_pitch: 300, stats_at: 4, sinks: { at: 1 } });
});

describe('query tiles that a tile of keys walks', () => {
  /** Twin of `query_range`. */
  const queryRange = ({ left, right, queryOffset }: Band, first: number, last: number, length: number) => {
    const clamp = (query: number) => Math.min(Math.max(query, 0), length);
    return [clamp(first - queryOffset - right), clamp(last - queryOffset + left + 1)];
  };
  const tiles = (band: Band, length: number) => {
    let count = 0;
    for (let first = 0; first < length; first += 32) {
      const [begin, end] = queryRange(band, first, Math.min(first + 32, length) - 1, length);
      count += Math.ceil(Math.max(end - begin, 0) / 32);
    }
    return count;
  };

  test('are those whose band holds any of its keys', () => {
    for (const band of [
      { left: 3, right: 0, queryOffset: 0 },
      { left: UNBOUNDED, right: 0, queryOffset: 5 },
      { left: 2, right: 4, queryOffset: -7 },
    ]) {
      for (const [first, last] of [
        [0, 3],
        [9, 9],
        [20, 29],
      ]) {
        const sees = Array.from({ length: 30 }, (_, query) => {
          const position = query + band.queryOffset;
          return first <= position + band.right && last >= position - band.left;
        });
        const [begin, end] = queryRange(band, first, last, 30);
        expect(sees).toEqual(Array.from({ length: 30 }, (_, query) => query >= begin && query < end));
      }
    }
  });

  test('grow with length × window, and halve with a causal mask', () => {
    const window = { left: 64, right: 0, queryOffset: 0 };
    expect(tiles(window, 8192) / tiles(window, 4096)).toBeCloseTo(2, 1);
    expect(tiles(window, 4096)).toBeLessThanOrEqual((4096 / 32) * Math.ceil((32 + 64) / 32));
    const causal = { left: UNBOUNDED, right: 0, queryOffset: 0 };
    expect(tiles(causal, 4096) / (4096 / 32) ** 2).toBeCloseTo(0.5, 1);
  });
});

const mergeProblem: MergeGradientProblem = {
  op: 'test',
  parts: 3,
  rows: 40,
  valueDim: 33,
  dtype: 'float16',
  hasGradient: true,
  hasLogSumExpGradient: false,
};

test('planMergeGradient is a pure function', () => {
  const given = frozen(mergeProblem);
  expect(planMergeGradient(given, DEFAULTS)).toEqual(planMergeGradient(given, DEFAULTS));
});

test('planMergeGradient: rows share a workgroup', () => {
  const { constants, params, workgroups } = planMergeGradient(mergeProblem, DEFAULTS);
  expect(constants).toEqual({ LANES: 16, OUT_F16: true });
  expect(params).toMatchObject({ output_pitch: 34, has_gradient: 1, has_log_sum_exp_gradient: 0 });
  expect(workgroups).toEqual([5, 1, 1]);
  expect(planMergeGradient({ ...mergeProblem, valueDim: 512 }, DEFAULTS).constants).toMatchObject({ LANES: 128 });
  expect(planMergeGradient(mergeProblem, CPU_DRIVER).workgroups).toEqual([2, 1, 1]);
});
