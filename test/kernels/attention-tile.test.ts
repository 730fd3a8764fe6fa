import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../src/index.ts';
import type { AttentionProblem } from '../../src/kernels/attention-operands.ts';
import { chooseTile, DEFAULT_BLOCK_SIZE, tileBytes, valueDimBucket } from '../../src/kernels/attention-tile.ts';
import { planFlashAttention } from '../../src/kernels/flash-attention.ts';
import { planLocalAttention } from '../../src/kernels/local-attention.ts';
import { UNBOUNDED } from '../../src/kernels/visibility.ts';
import { countFlashTiles, countLocalTiles } from './count-tiles.ts';
import { attentionProblem, DEFAULTS, dense, frozen } from './problems.ts';

const withMemory = (kibibytes: number) => ({ ...DEFAULTS, maxComputeWorkgroupStorageSize: kibibytes * 1024 });
const BLOCK_SIZES = [4, 8, 16, 32, 64, 128];

/** The value of a WGSL expression of u32 constants with + - * / and parentheses. */
function evaluateInteger(expression: string, constants: Readonly<Record<string, number>>): number {
  const tokens = expression.match(/\w+|[-+*/()]/g) ?? [];
  const atom = (): number => {
    const token = tokens.shift()!;
    if (token !== '(') return constants[token] ?? Number.parseInt(token, 10);
    const value = sum();
    tokens.shift();
    return value;
  };
  const product = (): number => {
    let value = atom();
    while (tokens[0] === '*' || tokens[0] === '/') {
      value = tokens.shift() === '*' ? value * atom() : Math.floor(value / atom());
    }
    return value;
  };
  const sum = (): number => {
    let value = product();
    while (tokens[0] === '+' || tokens[0] === '-') value += tokens.shift() === '+' ? product() : -product();
    return value;
  };
  return sum();
}

/** Bytes of the workgroup variables as WebGPU counts them, each rounded up to 16, from the shader's text. */
function workgroupBytes(blockQ: number, blockK: number): number {
  const source = readFileSync(new URL('../../shaders/attention/parts/tile.wgsl', import.meta.url), 'utf8');
  const values: Record<string, number> = { BLOCK_Q: blockQ, BLOCK_K: blockK, WORKGROUP: 64 };
  const evaluate = (expression: string) => evaluateInteger(expression, values);
  for (const [, name, expression] of source.matchAll(/^const (\w+): u32 = ([^;]+);/gm)) {
    if (!expression.includes('VALUE_DIM')) values[name] = evaluate(expression);
  }
  const sizes: Record<string, number> = { f32: 4, 'vec4<f32>': 16 };
  let bytes = 0;
  for (const [, type] of source.matchAll(/^var<workgroup> \w+: ([^;]+);/gm)) {
    const array = /^array<(f32|vec4<f32>), (.+)>$/.exec(type);
    bytes += Math.ceil((array ? sizes[array[1]] * evaluate(array[2]) : 4) / 16) * 16;
  }
  return bytes;
}

describe('tileBytes', () => {
  test.each(BLOCK_SIZES)('is what the shader declares, at blockSize %d', (blockK) => {
    for (const blockQ of [8, 16, 32, 64, 128]) {
      expect(Math.ceil(tileBytes(blockQ, blockK) / 16) * 16).toBe(workgroupBytes(blockQ, blockK));
    }
  });
});

describe('chooseTile', () => {
  test.each([
    [16, 32, 32, 32],
    [16, 64, 32, 32],
    [16, 128, 32, 32],
    [16, 256, 32, 16],
    [16, 64, 4, 32],
    [16, 64, 64, 16],
    [32, 64, 64, 16],
    [32, 64, 128, 16],
    [32, 256, 128, 16],
    [48, 64, 32, 32],
    [48, 64, 128, 16],
  ])('%d KiB, value dim %d, blockSize %d: %d query rows', (memory, valueDim, blockK, blockQ) => {
    expect(chooseTile('op', valueDim, blockK, withMemory(memory))).toMatchObject({ blockQ, blockK });
  });

  test('the default tile fits the default limits, whatever the dims', () => {
    for (const valueDim of [1, 32, 33, 64, 128, 256]) {
      const tile = chooseTile('op', valueDim, DEFAULT_BLOCK_SIZE, DEFAULTS);
      expect(workgroupBytes(tile.blockQ, tile.blockK)).toBeLessThanOrEqual(16_384);
    }
  });

  test('every tile that is chosen fits', () => {
    for (const memory of [16, 24, 32, 48, 64]) {
      for (const blockK of BLOCK_SIZES) {
        for (const valueDim of [8, 256]) {
          try {
            const { blockQ, bytes } = chooseTile('op', valueDim, blockK, withMemory(memory));
            expect(bytes).toBe(tileBytes(blockQ, blockK));
            expect(workgroupBytes(blockQ, blockK)).toBeLessThanOrEqual(memory * 1024);
          } catch (error) {
            expect(error).toBeInstanceOf(ArgumentError);
            expect([memory, blockK]).toEqual([16, 128]);
          }
        }
      }
    }
  });

  test('a blockSize that does not fit is refused with the limit named', () => {
    expect(() => chooseTile('flashAttention', 64, 128, DEFAULTS)).toThrow(
      new ArgumentError(
        "flashAttention: blockSize must fit the device's maxComputeWorkgroupStorageSize of 16384 bytes, " +
          `got 128, which needs ${tileBytes(8, 128)} bytes`,
      ),
    );
  });

  test('value dims share four buckets', () => {
    const bucket = (valueDim: number) => valueDimBucket('op', valueDim);
    expect([1, 32, 33, 64, 65, 128, 129, 256].map(bucket)).toEqual([32, 32, 64, 64, 128, 128, 256, 256]);
    expect(() => bucket(257)).toThrow(new ArgumentError('op: value headDim must be at most 256, got 257'));
  });
});

describe.each([
  ['planFlashAttention', planFlashAttention],
  ['planLocalAttention', planLocalAttention],
])('%s', (_, plan) => {
  test('is a pure function', () => {
    const problem = frozen(attentionProblem({ batch: 2, heads: 4, kvHeads: 2, queryLength: 33, keyLength: 65 }));
    const first = plan(problem, frozen({ ...DEFAULTS }));
    expect(plan(problem, DEFAULTS)).toEqual(first);
    JSON.stringify(first);
  });

  test('one workgroup for each tile of query rows of each head', () => {
    const { choice, workgroups, params } = plan(attentionProblem({ batch: 2, heads: 3, queryLength: 33 }), DEFAULTS);
    expect(choice.variant).toMatchObject({ name: 'tile-32x32', blockQ: 32 });
    expect(params).toMatchObject({ query_tiles: 2, groups: 12, heads: 3, group_size: 1 });
    expect(workgroups).toEqual([12, 1, 1]);
  });

  test('folds more workgroups than one dimension holds', () => {
    const { workgroups, params } = plan(attentionProblem({ batch: 70_000, queryLength: 1 }), DEFAULTS);
    expect(params.groups).toBe(70_000);
    expect(workgroups).toEqual([35_000, 2, 1]);
    const problem = attentionProblem({ batch: 65_536, heads: 65_536, queryLength: 1 });
    expect(() => plan(problem, DEFAULTS)).toThrow('test: the problem must need at most 4294836225 workgroups');
  });

  test('a new length, batch or head count, or a dim of the same bucket, specialises nothing new', () => {
    const base = plan(attentionProblem({ headDim: 40 }), DEFAULTS).constants;
    for (const change of [
      { queryLength: 9, keyLength: 999 },
      { batch: 7, heads: 6, kvHeads: 2 },
      { headDim: 33 },
      { headDim: 64 },
      { headDim: 256, valueDim: 64 },
      { scale: 3, writesLogSumExp: true },
      {
        visibility: {
          band: { left: 4, right: 0, queryOffset: 9 },
          mask: { dtype: 'bool' as const, ...dense(1, 1, 1, 1) },
        },
      },
    ]) {
      expect(plan(attentionProblem({ headDim: 40, ...change }), DEFAULTS).constants).toEqual(base);
    }
    expect(plan(attentionProblem({ headDim: 65 }), DEFAULTS).constants).not.toEqual(base);
    expect(plan(attentionProblem({ headDim: 40, dtype: 'float16' }), DEFAULTS).constants).not.toEqual(base);
  });

  test('grouped heads: so many query heads to a key head', () => {
    expect(plan(attentionProblem({ heads: 8, kvHeads: 2 }), DEFAULTS).params).toMatchObject({
      heads: 8,
      group_size: 4,
    });
  });

  test('reads four columns at once where each of q, k, v allows it', () => {
    const bits = (given: Partial<AttentionProblem>) => plan(attentionProblem(given), DEFAULTS).params['vector_loads'];
    expect(bits({ headDim: 64 })).toBe(7);
    expect(bits({ headDim: 30, valueDim: 32 })).toBe(4);
    expect(bits({ q: { strides: [4096, 4096, 64, 1], offset: 2 } })).toBe(6);
    expect(bits({ k: { strides: [4096, 4096, 1, 64], offset: 0 } })).toBe(5);
  });
});

const window = (left: number, right = left) => ({ band: { left, right, queryOffset: 0 } });
const local = (queryLength: number, visibility: AttentionProblem['visibility'], keyLength = queryLength) => {
  const problem = attentionProblem({ queryLength, keyLength, visibility });
  return { problem, tile: planLocalAttention(problem, DEFAULTS).choice.variant };
};

describe('local attention visits', () => {
  const visited = (queryLength: number, half: number) => {
    const { problem, tile } = local(queryLength, window(half));
    return countLocalTiles(problem, tile);
  };

  test('tiles that grow with the length, not with its square', () => {
    for (const half of [8, 64, 100]) {
      const counts = [1024, 2048, 4096, 8192, 16_384].map((length) => visited(length, half));
      for (let i = 1; i < counts.length; i++) {
        expect(counts[i] / counts[i - 1]).toBeGreaterThan(1.9);
        expect(counts[i] / counts[i - 1]).toBeLessThan(2.2);
      }
    }
  });

  test('tiles that grow with the window, once it is larger than a tile', () => {
    const counts = [128, 256, 512, 1024].map((half) => visited(2 ** 16, half));
    for (let i = 1; i < counts.length; i++) expect(counts[i] / counts[i - 1]).toBeCloseTo(2, 0);
  });

  test('per workgroup ⌈(blockQ + left + right) / blockK⌉ and never one more', () => {
    for (const [left, right] of [
      [0, 0],
      [8, 8],
      [16, 0],
      [0, 40],
      [100, 3],
      [256, 256],
    ] as const) {
      const { problem, tile } = local(1000, window(left, right));
      const most = Math.ceil((tile.blockQ + left + right) / tile.blockK);
      const workgroups = Math.ceil(1000 / tile.blockQ);
      expect(countLocalTiles(problem, tile)).toBeLessThanOrEqual(most * workgroups);
    }
  });

  test('a small share of what the full attention of the same length visits', () => {
    const { problem, tile } = local(8192, window(64));
    expect(
      countFlashTiles(
        { ...problem, visibility: { band: { left: UNBOUNDED, right: UNBOUNDED, queryOffset: 0 } } },
        tile,
      ),
    ).toBe(256 * 256);
    expect(countLocalTiles(problem, tile)).toBeLessThan(0.02 * 256 * 256);
  });

  test('as many tiles as there are when each is counted', () => {
    for (const [queries, keys, left, right, queryOffset] of [
      [100, 100, 7, 9, 0],
      [33, 200, 20, 0, 167],
      [200, 33, 5, 5, 0],
      [64, 64, 0, 0, -32],
      [50, 500, UNBOUNDED, 3, 450],
    ]) {
      const { problem, tile } = local(queries, { band: { left, right, queryOffset } }, keys);
      let count = 0;
      for (let first = 0; first < queries; first += tile.blockQ) {
        const seen = new Set<number>();
        for (let i = first; i < Math.min(first + tile.blockQ, queries); i++) {
          for (let j = 0; j < keys; j++) {
            if (j >= i + queryOffset - left && j <= i + queryOffset + right) seen.add(j);
          }
        }
        count += Math.ceil(seen.size / tile.blockK);
      }
      expect(countLocalTiles(problem, tile)).toBe(count);
    }
  });
});

describe('flash attention visits', () => {
  const flash = (queryLength: number, keyLength: number, right: number, queryOffset = 0) => {
    const visibility = { band: { left: UNBOUNDED, right, queryOffset } };
    const problem = attentionProblem({ queryLength, keyLength, visibility });
    return countFlashTiles(problem, planFlashAttention(problem, DEFAULTS).choice.variant);
  };

  test('every tile without a mask', () => {
    expect(flash(1024, 1024, UNBOUNDED)).toBe(32 * 32);
    expect(flash(1000, 33, UNBOUNDED)).toBe(32 * 2);
  });

  test('about half of them with a causal mask', () => {
    expect(flash(1024, 1024, 0)).toBe((32 * 33) / 2);
    expect(flash(8192, 8192, 0) / flash(8192, 8192, UNBOUNDED)).toBeCloseTo(0.5, 2);
  });

  test('aligned to the bottom right, the tiles left of the last queries', () => {
    expect(flash(32, 1024, 0, 992)).toBe(32);
    expect(flash(32, 1024, 0)).toBe(1);
    expect(flash(1024, 32, 0, -992)).toBe(1); // rows before the first key visit nothing
  });
});
