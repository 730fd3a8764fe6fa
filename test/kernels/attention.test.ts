import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  attentionKey,
  chooseTile,
  DEFAULT_BLOCK_SIZE,
  planAttention as planPasses,
  planBlockMask,
  planKeyPlaces,
  tileBytes,
  valueDimBucket,
  visiblePairs,
  type AttentionProblem,
  type OptionFields,
  type RegisterVariant,
} from '../../src/kernels/attention.ts';
import { NO_CHOICES } from '../../src/kernels/choice.ts';
import type { Traits } from '../../src/tensor/traits.ts';
import { UNBOUNDED } from '../../src/ops/attention/internal/options.ts';
import { countFlashTiles, countLocalTiles, type Band } from './count-tiles.ts';
import { attentionProblem, CPU_DRIVER, DEFAULTS, dense, frozen, NO_OPTIONS } from './problems.ts';

const withOptions = (given: Partial<OptionFields>) => ({ options: { ...NO_OPTIONS, ...given } });

const withMemory = (kibibytes: number) => ({ ...DEFAULTS, maxComputeWorkgroupStorageSize: kibibytes * 1024 });
/** A plan of one pass, together with that pass. */
function planAttention(...given: Parameters<typeof planPasses>) {
  const { passes, ...plan } = planPasses(...given);
  expect(passes).toHaveLength(1);
  return { ...plan, ...passes[0] };
}

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
    expect(chooseTile(valueDim, blockK, withMemory(memory))).toMatchObject({ blockQ, blockK });
  });

  test('the default tile fits the default limits, whatever the dims', () => {
    for (const valueDim of [1, 32, 33, 64, 128, 256]) {
      const tile = chooseTile(valueDim, DEFAULT_BLOCK_SIZE, DEFAULTS)!;
      expect(workgroupBytes(tile.blockQ, tile.blockK)).toBeLessThanOrEqual(16_384);
    }
  });

  test('every tile that is chosen fits', () => {
    for (const memory of [16, 24, 32, 48, 64]) {
      for (const blockK of BLOCK_SIZES) {
        for (const valueDim of [8, 256]) {
          const tile = chooseTile(valueDim, blockK, withMemory(memory));
          if (!tile) {
            expect([memory, blockK]).toEqual([16, 128]);
            continue;
          }
          expect(tile.bytes).toBe(tileBytes(tile.blockQ, blockK));
          expect(workgroupBytes(tile.blockQ, blockK)).toBeLessThanOrEqual(memory * 1024);
        }
      }
    }
  });

  test('value dims share four buckets', () => {
    expect([1, 32, 33, 64, 65, 128, 129, 256].map(valueDimBucket)).toEqual([32, 32, 64, 64, 128, 128, 256, 256]);
  });
});

/** Tiles of 32 queries and 32 keys. */
const TILES = {
  ...NO_CHOICES,
  pinned: new Map([
    ['flashAttention', 'tile-32x32'],
    ['localAttention', 'tile-32x32'],
  ]),
};

describe('planAttention', () => {
  const plan = planAttention;

  test('flash and local attention have tile kernels of their own, but for block masks', () => {
    const shaderOf = (given: Partial<AttentionProblem>) => plan(attentionProblem(given), DEFAULTS, TILES).shader.name;
    expect(shaderOf({ kernelsOf: 'flashAttention' })).toBe('attention/flash-attention');
    expect(shaderOf({ kernelsOf: 'localAttention' })).toBe('attention/local-attention');
    const blocks = withOptions({ maskBlock: 32 });
    expect(shaderOf({ kernelsOf: 'localAttention', ...blocks })).toBe('attention/flash-attention');
  });

  test('they share all other kernels', () => {
    const [flash, local] = (['flashAttention', 'localAttention'] as const).map((kernelsOf) =>
      plan(attentionProblem({ queryLength: 128, keyLength: 128, kernelsOf }), DEFAULTS),
    );
    expect(local).toEqual(flash);
    expect(flash.choice.variant.family).toBe('register');
    for (const queryLength of [1, 128]) {
      const flash = plan(attentionProblem({ queryLength, keyLength: 128 }), CPU_DRIVER);
      const local = plan(attentionProblem({ queryLength, keyLength: 128, kernelsOf: 'localAttention' }), CPU_DRIVER);
      expect(local).toEqual(flash);
      expect(flash.choice.variant.family).toBe(queryLength === 1 ? 'stream' : 'subgroup');
    }
  });

  test('is a pure function', () => {
    const problem = frozen(attentionProblem({ batch: 2, heads: 4, kvHeads: 2, queryLength: 33, keyLength: 65 }));
    const first = plan(problem, frozen({ ...DEFAULTS }));
    expect(plan(problem, DEFAULTS)).toEqual(first);
    JSON.stringify(first);
  });

  test('one workgroup for each tile of query rows of each head', () => {
    const { choice, workgroups, params } = plan(attentionProblem({ batch: 2, heads: 3, queryLength: 33 }), DEFAULTS);
    expect(choice.variant).toMatchObject({ name: 'register-32x32-4x4', blockQ: 32 });
    expect(params).toMatchObject({ end_group: 12, heads: 3, work: { query_tiles: 2 }, inputs: { group_size: 1 } });
    expect(workgroups).toEqual([12, 1, 1]);
  });

  test('folds more workgroups than one dimension holds', () => {
    const { workgroups, params } = plan(attentionProblem({ batch: 70_000, queryLength: 1 }), DEFAULTS);
    expect(params.end_group).toBe(70_000);
    expect(workgroups).toEqual([35_000, 2, 1]);
    const problem = attentionProblem({ batch: 65_536, heads: 65_536, queryLength: 1 });
    expect(() => plan(problem, DEFAULTS)).toThrow('test: the problem must need at most 4294836225 workgroups');
  });

  test('a new length, batch or head count, or a dim of the same bucket, specialises nothing new', () => {
    const constants = (given: Partial<AttentionProblem>) => plan(attentionProblem(given), DEFAULTS, TILES).constants;
    const base = constants({ headDim: 40 });
    for (const change of [
      { queryLength: 9, keyLength: 999 },
      { batch: 7, heads: 6, kvHeads: 2 },
      { headDim: 33 },
      { headDim: 64 },
      { headDim: 256, valueDim: 64 },
      { writesLogSumExp: true },
      withOptions({ band: { left: 4, right: 0 }, fields: { ...NO_OPTIONS.fields, score: { scale: 3 } } }),
    ]) {
      expect(constants({ headDim: 40, ...change })).toEqual(base);
    }
    expect(constants({ headDim: 65 })).not.toEqual(base);
    expect(constants({ headDim: 40, dtype: 'float16' })).not.toEqual(base);
  });

  test('grouped heads: several query heads for each key head', () => {
    expect(plan(attentionProblem({ heads: 8, kvHeads: 2 }), DEFAULTS).params).toMatchObject({
      heads: 8,
      inputs: { group_size: 4 },
    });
  });

  test('reads four columns at once where each of q, k, v allows it', () => {
    const vectors = (given: Partial<AttentionProblem>) => {
      const { q, k, v } = plan(attentionProblem(given), DEFAULTS).params['inputs'] as Record<
        string,
        { vectors: number }
      >;
      return [q, k, v].map((operand) => operand.vectors);
    };
    expect(vectors({ headDim: 64 })).toEqual([1, 1, 1]);
    expect(vectors({ headDim: 30, valueDim: 32 })).toEqual([0, 0, 1]);
    expect(vectors({ q: { strides: [4096, 4096, 64, 1], offset: 2 } })).toEqual([0, 1, 1]);
    expect(vectors({ k: { strides: [4096, 4096, 1, 64], offset: 0 } })).toEqual([1, 0, 1]);
  });
});

describe('tiles in registers', () => {
  const constantsOf = (name: string, given: Partial<AttentionProblem> = {}, traits: Traits = LARGE) => {
    const pinned = new Map([['flashAttention', name]]);
    const plan = planAttention(attentionProblem({ queryLength: 200, ...given }), traits, { ...NO_CHOICES, pinned });
    return plan.choice.variant.name === name ? plan.constants : undefined;
  };
  const LARGE = { ...DEFAULTS, maxComputeWorkgroupStorageSize: 48 * 1024, vendor: 'amd' };
  const heldIn = (kibibytes: number, given: Partial<AttentionProblem>) => {
    const traits = { ...LARGE, maxComputeWorkgroupStorageSize: kibibytes * 1024 };
    const { variant } = planPasses(attentionProblem({ queryLength: 200, ...given }), traits).choice;
    const { name, holdsQ } = variant as RegisterVariant;
    return `${name}${holdsQ ? '' : ', chunks of Q'}`;
  };
  const NAMES = [
    '64x64-8x8',
    '32x128-8x8',
    '64x64-4x8',
    '32x128-4x8',
    '32x64-8x4',
    '32x64-4x8',
    '16x128-4x8',
    '32x32-4x4',
    '16x64-4x4',
  ].map((tile) => `register-${tile}`);
  const CACHE_NAMES = ['cache-64x64-4x8', 'cache-32x64-4x8', 'cache-32x32-4x4'];
  const DIMS = [1, 32, 33, 64, 65, 96, 97, 128, 129, 256, 257, 512];

  /** Every constant of the shader, in its own words. */
  function declared(constants: Readonly<Record<string, unknown>>): Record<string, number> {
    const source = ['parts/chunk', 'register']
      .map((name) => readFileSync(new URL(`../../shaders/attention/${name}.wgsl`, import.meta.url), 'utf8'))
      .join('\n');
    const isF16 = constants['KV_F16'] === true;
    const values: Record<string, number> = {};
    for (const [name, value] of Object.entries(constants)) if (typeof value === 'number') values[name] = value;
    for (const [, name, expression] of source.matchAll(/^const (\w+): u32 = ([^;]+);/gm)) {
      const chosen = expression
        .replace(/select\((\w+), (\w+), KV_F16\)/, isF16 ? '$2' : '$1')
        .replace(/^select\((.*), 1u, FROM_CACHE\)$/, constants['FROM_CACHE'] === true ? '1' : '$1')
        .replace(/select\((\w+), (\w+), HOLDS_Q\)/, constants['HOLDS_Q'] === true ? '$2' : '$1');
      const larger = /^max\(([^,]+), ([^)]+)\)(.*)$/.exec(chosen);
      values[name] ??= larger
        ? Math.max(evaluateInteger(larger[1], values), evaluateInteger(larger[2], values)) +
          evaluateInteger(`0${larger[3]}`, values)
        : evaluateInteger(chosen, values);
    }
    return values;
  }

  test('divide everything that the kernel divides among lanes, for each dim and dtype', () => {
    let plans = 0;
    for (const name of [...NAMES, ...CACHE_NAMES]) {
      for (const headDim of DIMS) {
        for (const valueDim of DIMS.filter((size) => size <= 256)) {
          for (const dtype of ['float32', 'float16'] as const) {
            const constants = constantsOf(name, { headDim, valueDim, dtype, kvDtype: dtype });
            if (!constants) continue;
            plans++;
            const c = declared(constants);
            expect(c['X'] * c['Y']).toBe(c['WORKGROUP']);
            expect([c['DIM'] >= headDim, c['VALUE_DIM'] * c['VALUE_PARTS'] >= valueDim]).toEqual([true, true]);
            const whole = [
              [c['BLOCK_K'] * c['STEP_VECTORS'], c['WORKGROUP']],
              [c['V_KEYS'] * c['V_VECTORS'], c['WORKGROUP']],
              [c['WORKGROUP'], c['STEP_VECTORS']],
              [c['Q_QUADS'], c['STEP_QUADS']],
              [c['STEP_QUADS'], c['WIDTH']],
              [c['V_QUADS'], c['X']],
              [c['V_QUADS'], c['WIDTH']],
              [c['V_KEYS'], c['X']],
              [c['V_KEYS'], 4],
              [c['BLOCK_K'], c['V_KEYS']],
              [c['ROWS'], 4],
            ];
            for (const [all, part] of whole)
              expect([name, headDim, valueDim, dtype, all, part, all % part]).toEqual([
                name,
                headDim,
                valueDim,
                dtype,
                all,
                part,
                0,
              ]);
            const chunk = 16 * Math.ceil((c['CHUNK'] * (dtype === 'float16' ? 8 : 16)) / 16);
            const p = c['ROW_QUADS'] * c['Y'] * c['P_PITCH'];
            const bytes = 16 * (c['BLOCK_Q'] * c['Q_PITCH'] + p) + chunk + 32;
            expect(bytes).toBeLessThanOrEqual(LARGE.maxComputeWorkgroupStorageSize);
            if (bytes <= tileBytes(8, 32)) continue; // no device has so little
            // no more is asked for than the plan counts, so a device with just that much has the kernel
            const exact = { ...LARGE, maxComputeWorkgroupStorageSize: bytes };
            expect(constantsOf(name, { headDim, valueDim, dtype, kvDtype: dtype }, exact)).toEqual(constants);
            const less = { ...LARGE, maxComputeWorkgroupStorageSize: bytes - 1 };
            expect(constantsOf(name, { headDim, valueDim, dtype, kvDtype: dtype }, less)).not.toEqual(constants);
          }
        }
      }
    }
    expect(plans).toBeGreaterThan(400);
  });

  test('hold 32 rows of Q or more in workgroup memory, or load Q with each chunk of K', () => {
    expect(heldIn(16, { headDim: 64 })).toBe('register-32x64-4x8');
    expect(heldIn(16, { headDim: 128 })).toBe('register-32x64-4x8, chunks of Q');
    expect(heldIn(32, { headDim: 128 })).toBe('register-32x64-4x8');
    expect(heldIn(32, { headDim: 256, valueDim: 64 })).toBe('register-64x64-4x8, chunks of Q');
    expect(heldIn(32, { headDim: 256 })).toBe('register-32x128-4x8, chunks of Q');
    expect(heldIn(48, { headDim: 512, valueDim: 512 })).toBe('register-32x128-4x8, chunks of Q');
    expect(heldIn(32, { headDim: 256, valueDim: 64, queryLength: 9 })).toBe('register-16x128-4x8');
  });

  test('load whole vectors where the keys lie one after another in whole ones', () => {
    const loads = (given: Partial<AttentionProblem>) => constantsOf('register-32x64-4x8', given)!['VECTORS'] ?? false;
    expect(loads({})).toBe(true);
    expect(loads({ headDim: 30 })).toBe(false);
    expect(loads({ valueDim: 30 })).toBe(false);
    expect(loads({ k: { strides: [4096, 4096, 1, 64], offset: 0 } })).toBe(false);
    expect(loads({ v: { strides: [4096, 4096, 64, 1], offset: 2 } })).toBe(false);
    expect(loads(withOptions({ constants: { KV_PAGED: true } }))).toBe(false);
    expect(loads(withOptions({ constants: { KV_RING: true } }))).toBe(false);
    // eight float16 are 16 bytes
    const half = { dtype: 'float16', kvDtype: 'float16' } as const;
    expect(loads(half)).toBe(true);
    expect(loads({ ...half, headDim: 60 })).toBe(false);
    expect(loads({ ...half, k: { strides: [4096, 4096, 68, 1], offset: 0 } })).toBe(false);
  });

  test('by default the smallest that holds all rows, of 4 × 8 scores a lane', () => {
    const chosen = (queryLength: number, traits: Traits = LARGE) =>
      planAttention(attentionProblem({ queryLength }), traits).choice.variant.name;
    expect([9, 16, 17, 32, 33, 1000].map((rows) => chosen(rows))).toEqual([
      'register-16x128-4x8',
      'register-16x128-4x8',
      'register-32x64-4x8',
      'register-32x64-4x8',
      'register-64x64-4x8',
      'register-64x64-4x8',
    ]);
    expect(chosen(1000, { ...DEFAULTS, vendor: 'nvidia' })).toBe('register-32x64-4x8');
    for (const vendor of ['apple', 'intel', 'qualcomm', 'arm', 'someone', '', undefined]) {
      expect(chosen(1000, { ...LARGE, vendor })).toBe('register-32x32-4x4');
      expect(chosen(1, { ...LARGE, vendor })).toBe('register-16x64-4x4');
    }
    for (const vendor of ['nvidia', 'amd']) {
      expect(chosen(1000, { ...LARGE, vendor })).toBe('register-64x64-4x8');
      expect(chosen(1, { ...LARGE, vendor })).toBe('register-16x128-4x8');
    }
    const large = planPasses(attentionProblem({ queryLength: 200, headDim: 513 }), LARGE).choice.variant;
    expect(large.family).toBe('tile');
  });
});

const window = (left: number, right = left): Band => ({ left, right, queryOffset: 0 });
const tileOf = (queryLength: number, keyLength: number) =>
  planAttention(attentionProblem({ queryLength, keyLength }), DEFAULTS, TILES).choice.variant;
const local = (queryLength: number, band: Band, keyLength = queryLength) => ({
  problem: { queryLength, keyLength, band },
  tile: tileOf(queryLength, keyLength),
});

test('pairs that the band leaves are counted as a loop over them counts', () => {
  const count = (queryLength: number, keyLength: number, { left, right }: Pick<Band, 'left' | 'right'>) => {
    let pairs = 0;
    for (let query = 0; query < queryLength; query++) {
      const position = query + keyLength - queryLength;
      for (let key = 0; key < keyLength; key++) if (key >= position - left && key <= position + right) pairs++;
    }
    return pairs;
  };
  for (const [queryLength, keyLength] of [
    [8, 8],
    [1, 9],
    [3, 20],
    [7, 8],
  ]) {
    for (const left of [UNBOUNDED, 0, 2, 30]) {
      for (const right of [UNBOUNDED, 0, 2, 30]) {
        const problem = attentionProblem({
          batch: 2,
          heads: 3,
          queryLength,
          keyLength,
          ...withOptions({ band: { left, right } }),
        });
        const [pairs, exact] = [visiblePairs(problem), 6 * count(queryLength, keyLength, { left, right })];
        // a window that is open to the right may be aligned at the first query, and then hides less
        if (right >= keyLength && left < keyLength) expect(pairs).toBeGreaterThanOrEqual(exact);
        else expect(pairs).toBe(exact);
      }
    }
  }
});

test('pairs of packed sequences are no more than the rows of q have', () => {
  const packed = { batch: 100, heads: 2, queryLength: 2048, keyLength: 2048, queryRows: 99 * 64 + 2048 };
  const { passes } = planPasses(attentionProblem({ ...packed, ...withOptions({ isPacked: true }) }), DEFAULTS);
  expect(passes[0].operations).toBe(2 * 128 * 2 * 8384 * 2048);
  expect(passes[0].isUpperBound).toBe(true);
  expect(planPasses(attentionProblem(), DEFAULTS).passes[0].isUpperBound).toBeUndefined();
});

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
    expect(countFlashTiles({ ...problem, band: { left: UNBOUNDED, right: UNBOUNDED, queryOffset: 0 } }, tile)).toBe(
      256 * 256,
    );
    expect(countLocalTiles(problem, tile)).toBeLessThan(0.02 * 256 * 256);
  });

  test('as many tiles as a direct count gives', () => {
    for (const [queries, keys, left, right, queryOffset] of [
      [100, 100, 7, 9, 0],
      [33, 200, 20, 0, 167],
      [200, 33, 5, 5, 0],
      [64, 64, 0, 0, -32],
      [50, 500, UNBOUNDED, 3, 450],
    ]) {
      const { problem, tile } = local(queries, { left, right, queryOffset }, keys);
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
    const band = { left: UNBOUNDED, right, queryOffset };
    return countFlashTiles({ queryLength, keyLength, band }, tileOf(queryLength, keyLength));
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

const decode = (given: Partial<AttentionProblem> = {}) =>
  attentionProblem({ queryLength: 1, keyLength: 4096, heads: 8, ...given });
const planDecode = (given: Partial<AttentionProblem>, traits = DEFAULTS) => planAttention(decode(given), traits);

describe('few queries', () => {
  test('take the kernel whose invocations walk keys of their own on CPU drivers, and small tiles on GPUs', () => {
    expect(planDecode({}, CPU_DRIVER).choice.variant).toMatchObject({ name: 'stream', blockQ: 1, blockK: 8 });
    expect(planDecode({ queryLength: 3 }, CPU_DRIVER).choice.variant).toMatchObject({
      name: 'stream',
      blockQ: 4,
      blockK: 8,
    });
    expect(planDecode({ heads: 16, kvHeads: 2 }, CPU_DRIVER).choice.variant).toMatchObject({
      name: 'stream',
      blockQ: 4,
    });
    expect(planDecode({ queryLength: 9 }, CPU_DRIVER).choice.variant.name).toBe('subgroup');
    expect(planDecode({}).choice.variant.name).toBe('register-16x64-4x4');
    expect(planDecode({ headDim: 513, valueDim: 64 }).choice.variant.name).toBe('tile-8x32');
    expect(planDecode({ queryLength: 9 }).choice.variant.name).toBe('register-16x64-4x4');
  });

  test('do not take a kernel for which there is no workgroup memory', () => {
    const pinned = { ...NO_CHOICES, pinned: new Map([['flashAttention', 'stream']]) };
    const dims = (headDim: number) => planAttention(decode({ headDim }), DEFAULTS, pinned).choice.variant.name;
    expect([64, 96, 128].map(dims)).toEqual(['stream', 'stream', 'register-16x64-4x4']);
  });

  test('read q, k and v without branches where they are aligned', () => {
    const isAligned = (given: Partial<AttentionProblem>) => planDecode(given, CPU_DRIVER).constants['ALIGNED'] ?? false;
    expect(isAligned({})).toBe(true);
    expect(isAligned({ headDim: 40, valueDim: 8 })).toBe(true);
    expect(isAligned({ headDim: 40, valueDim: 7 })).toBe(false);
    expect(isAligned({ headDim: 42, valueDim: 8 })).toBe(false);
    expect(isAligned({ q: { ...dense(1, 8, 1, 64), offset: 2 } })).toBe(false);
    expect(isAligned({ k: { strides: [0, 1, 8, 64], offset: 0 } })).toBe(false);
    expect(isAligned({ v: { ...dense(1, 8, 4096, 64), offset: 2 } })).toBe(false);
  });

  test('have choices of their own', () => {
    const size = { kernelsOf: 'flashAttention', dtype: 'float32', headDim: 64, valueDim: 64 } as const;
    expect(attentionKey(size)).toEqual({ op: 'flashAttention', dtype: 'float32', sizeClass: 64 });
    expect(attentionKey({ ...size, rows: 8 }).sizeClass).toBe('few-64');
    expect(attentionKey({ ...size, rows: 9 }).sizeClass).toBe(64);
    const date = '2026-01-01';
    const tuned = new Map([
      ['flashAttention/float32/64', { kernel: 'tile-16x32', date }],
      ['flashAttention/float32/few-64', { kernel: 'stream', date }],
    ]);
    const choices = { ...NO_CHOICES, tuned };
    expect(planAttention(decode(), DEFAULTS, choices).choice.variant.name).toBe('stream');
    expect(planAttention(decode({ queryLength: 64 }), DEFAULTS, choices).choice.variant.name).toBe('tile-16x32');
  });
});

describe('passes over the columns of the output', () => {
  const problem = attentionProblem({ queryLength: 40, valueDim: 600, v: { strides: [9000, 9000, 600, 1], offset: 4 } });

  test('have as many columns each, at most 256, and the first writes the log-sum-exp', () => {
    const { passes } = planPasses({ ...problem, writesLogSumExp: true }, DEFAULTS);
    expect(passes).toMatchObject(
      [
        [200, 0, 4, 1],
        [200, 200, 204, 0],
        [200, 400, 404, 0],
      ].map(([columns, first, offset, writes]) => ({
        params: {
          inputs: { value_dim: columns, v: { offset } },
          output: { first_column: first, writes_log_sum_exp: writes },
        },
      })),
    );
  });

  test('are whole vectors, but for the last', () => {
    const columns = (valueDim: number) => {
      const passes = planPasses(attentionProblem({ queryLength: 40, headDim: 64, valueDim }), DEFAULTS).passes;
      return passes.map(({ params }) => (params['inputs'] as { value_dim: number }).value_dim);
    };
    expect(columns(256)).toEqual([256]);
    expect(columns(257)).toEqual([136, 121]);
    expect(columns(512)).toEqual([256, 256]);
    expect(columns(513)).toEqual([176, 176, 161]);
  });

  test('share parts of the keys, and one merge', () => {
    const { passes, merge } = planPasses(decode({ valueDim: 600 }), DEFAULTS);
    expect(merge).toMatchObject({ parts: 16, params: { value_dim: 600, quads: 150 } });
    expect(passes).toHaveLength(3);
    for (const { params } of passes) {
      expect(params).toMatchObject({
        work: { splits: 16 },
        output: { strides: [4800, 600, 600, 1], split_pitch: 4800 },
      });
    }
  });
});

describe('split keys', () => {
  const partsOf = (given: Partial<AttentionProblem>, traits = DEFAULTS) => planDecode(given, traits).merge?.parts ?? 1;

  test('as many as keep the device busy, of at least 256 keys each', () => {
    expect(partsOf({})).toBe(16);
    expect(partsOf({ keyLength: 32_768 })).toBe(32);
    expect(partsOf({ keyLength: 511 })).toBe(1);
    expect(partsOf({ keyLength: 512 })).toBe(2);
    expect(partsOf({ batch: 64 })).toBe(1);
    expect(partsOf({}, CPU_DRIVER)).toBe(8);
  });

  test('not where queries are many, nor where a window leaves few keys', () => {
    expect(partsOf({ queryLength: 512 })).toBe(1);
    expect(partsOf(withOptions({ band: { left: 300, right: 0 } }))).toBe(1);
    expect(partsOf(withOptions({ band: { left: UNBOUNDED, right: 0 } }))).toBe(16);
  });

  test('where a workgroup would have too many, for any number of queries, if the parts are small', () => {
    const parts = (given: Partial<AttentionProblem>) =>
      planPasses(attentionProblem({ queryLength: 1000, keyLength: 400_000, ...given }), DEFAULTS).merge?.parts ?? 1;
    expect(parts({})).toBe(2); // tiles of 32 queries, 6.6e9 operations would be 3
    expect(parts({ headDim: 256 })).toBeGreaterThan(parts({}));
    expect(parts(withOptions({ band: { left: 1000, right: 1000 } }))).toBe(1);
    expect(parts(withOptions({ maskBlock: 64 }))).toBe(1);
    // one part takes 64 MB, so that two fit
    expect(parts({ queryLength: 262_144, headDim: 256, valueDim: 64, keyLength: 2 ** 20 })).toBe(2);
    expect(parts({ queryLength: 2 ** 20 })).toBe(1);
  });

  test('are written in float32, one part after the other, and merged into the output', () => {
    const problem = decode({ dtype: 'float16', batch: 2, headDim: 64, valueDim: 40, output: dense(2, 8, 1, 40) });
    const { params, constants, merge } = planAttention(frozen(problem), DEFAULTS);
    expect(constants).toMatchObject({ IS_F16: true, KV_F16: true });
    expect(constants).not.toHaveProperty('OUT_F16');
    expect(params).toMatchObject({
      work: { splits: 16 },
      output: { strides: [320, 40, 40, 1], split_pitch: 640, split_rows: 16, writes_log_sum_exp: 1 },
    });
    expect(merge).toMatchObject({
      parts: 16,
      constants: { OUT_F16: true },
      params: { parts: 16, rows: 16, value_dim: 40, output_strides: [320, 40, 40, 1], writes_log_sum_exp: 0 },
    });
  });
});

describe('a group of query heads', () => {
  test('shares a workgroup where its rows are few', () => {
    const { constants, params } = planDecode({ heads: 8, kvHeads: 2, queryLength: 2 });
    expect(constants).toMatchObject({ FOLDS_GROUP: true });
    expect(params).toMatchObject({ inputs: { group_size: 4 }, work: { head_tiles: 2, query_tiles: 1 } });
  });

  test('does not if they fill their own tiles, nor under a block mask', () => {
    const many = planDecode({ heads: 8, kvHeads: 2, queryLength: 64 });
    expect(many.constants).not.toHaveProperty('FOLDS_GROUP');
    expect(many.params).toMatchObject({ work: { head_tiles: 8, query_tiles: 2 } });
    const blocked = planDecode({ heads: 8, kvHeads: 2, queryLength: 2, ...withOptions({ maskBlock: 128 }) });
    expect(blocked.constants).not.toHaveProperty('FOLDS_GROUP');
    expect(blocked.merge).toBeUndefined();
  });
});

test('where the keys of caches lie is a constant, the places are numbers', () => {
  const ring = planKeyPlaces({ kind: 'ring', kept: 4, start: 9, length: 60 });
  expect(ring.constants).toEqual({ KV_RING: true });
  expect(ring.fields(0)).toMatchObject({ ring_kept: 4, ring_start: 9, ring_length: 60 });
  const paged = planKeyPlaces({ kind: 'paged', pageSize: 16, pages: [[3, 1], [2]] });
  expect(paged.constants).toEqual({ KV_PAGED: true });
  expect([...paged.words!]).toEqual([3, 1, 2, 0]);
  expect(paged.fields(5)).toMatchObject({ page_shift: 4, pages_at: 5, pages_pitch: 2 });
  expect(planKeyPlaces({ kind: 'contiguous' }).constants).toEqual({});
});

test('a cache takes the kernels that were chosen for flashAttention', () => {
  const choices = { ...NO_CHOICES, pinned: new Map([['flashAttention', 'tile-16x32']]) };
  const problem = decode({ op: 'KeyValueCache.attend' });
  expect(planAttention(problem, DEFAULTS, choices).choice.variant.name).toBe('tile-16x32');
});

test('no workgroup and no step straddles two blocks of a block mask', () => {
  const wide = { ...CPU_DRIVER, subgroupSize: 16 };
  const pinned = (kernel: string) => ({ ...NO_CHOICES, pinned: new Map([['flashAttention', kernel]]) });
  const sizesOf = (queryLength: number, traits: Traits, choices = NO_CHOICES, blockSize?: number) => {
    const problem = attentionProblem({ queryLength, keyLength: 128, blockSize, ...withOptions({ maskBlock: 32 }) });
    const { blockQ, blockK } = planAttention(problem, traits, choices).choice.variant;
    return Math.max(blockQ, blockK);
  };
  expect(sizesOf(128, wide)).toBeLessThanOrEqual(32); // whose subgroups take 64 queries
  expect(sizesOf(1, wide)).toBeLessThanOrEqual(32); // whose vectors take 64 keys
  expect(sizesOf(128, DEFAULTS, pinned('tile-8x64'))).toBeLessThanOrEqual(32);
  expect(sizesOf(4, DEFAULTS, pinned('stream'))).toBeLessThanOrEqual(32);
  expect(sizesOf(128, DEFAULTS, NO_CHOICES, 128)).toBeLessThanOrEqual(32);
  expect(sizesOf(128, DEFAULTS, NO_CHOICES, 16)).toBeLessThanOrEqual(32);
});

const blockMaskProblem = {
  op: 'createBlockMask',
  batch: 2,
  heads: 3,
  queryLength: 300,
  keyLength: 128,
  blockSize: 128,
  insertions: [],
  captures: {},
};

describe('planBlockMask', () => {
  test('takes a workgroup for each block, those at the ends included', () => {
    const { params, workgroups } = planBlockMask(blockMaskProblem, DEFAULTS);
    expect(params).toMatchObject({ rows: 3, columns: 1, groups: 18, heads: 3 });
    expect(workgroups).toEqual([18, 1, 1]);
  });

  test('folds what one dimension does not hold', () => {
    const { params, workgroups } = planBlockMask(
      { ...blockMaskProblem, queryLength: 2 ** 16, keyLength: 2 ** 15 },
      DEFAULTS,
    );
    expect(params['groups']).toBe(2 * 3 * 512 * 256);
    expect(workgroups[0] * workgroups[1]).toBeGreaterThanOrEqual(786432);
    expect(Math.max(...workgroups)).toBeLessThanOrEqual(65535);
  });

  test('compiles one kernel for all sizes', () => {
    const { shader, constants } = planBlockMask(blockMaskProblem, DEFAULTS);
    const other = planBlockMask(
      { ...blockMaskProblem, batch: 1, queryLength: 7, keyLength: 9000, blockSize: 32 },
      DEFAULTS,
    );
    expect(other.shader).toBe(shader);
    expect(other.constants).toEqual(constants);
  });
});
