/** Gradients of attention on random problems: against the float64 gradient, and by what must hold whatever is computed. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Device } from '../../../src/index.ts';
import { testDevice, triesEveryKernel } from '../../device.ts';
import { IS_MATRIX, narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import type { OutputGradients } from '../../reference/attention-gradient.ts';
import { expectClose } from '../../reference/compare.ts';
import { type HostArray, slice } from '../../reference/host-array.ts';
import { expectGradientsOfEveryOp, type Gradients, type Leaf, LEAVES, runGradients } from './attention-backward-run.ts';
import { ATTENTION_OPS, type AttentionOp, type Problem } from './attention-run.ts';
import { boolMask, floatMask, map, randomOperands } from './attention-suite.ts';

const RUNS = 20;
/** Most of it goes into compiling, on a busy machine with a software driver. */
const TIMEOUT = 360_000;
/** Fixed, so that every machine tries the same; a failure prints it with the path to the smallest counterexample. */
const SEED = 20_251_123;

const isBroad = await triesEveryKernel();

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const bound = fc.oneof(fc.constant(-1), fc.integer({ min: 0, max: 60 }));
const share = fc.double({ min: 0, max: 1, noNaN: true });
const length = fc.integer({ min: 1, max: 75 });

const options = {
  seed: fc.nat(1e6),
  // What is in the kernels' code and not among their numbers costs seconds to compile: scores are modified and dropped
  // together, and float16 has the tests of conformance and of single options.
  isModified: fc.boolean(),
  kvHeads: fc.integer({ min: 1, max: 2 }),
  group: fc.constantFrom(1, 3),
  // one bucket of head dims
  dim: fc.constantFrom(1, 8, 19, 32),
  valueDim: fc.constantFrom(...narrow([7], [7, 32])),
  isCausal: fc.boolean(),
  align: fc.constantFrom('top-left' as const, 'bottom-right' as const),
  window: some(fc.record({ left: bound, right: bound })),
  scale: some(fc.double({ min: -2, max: 2, noNaN: true })),
  softcap: some(fc.double({ min: 0.5, max: 60, noNaN: true })),
  hasSlopesPerBatch: fc.boolean(),
  hasSinks: fc.boolean(),
  offset: fc.constantFrom('none' as const, 'batch' as const),
  keyLengths: some(fc.array(share, { minLength: 4, maxLength: 4 })),
  dropoutP: fc.constantFrom(0.1, 0.5),
  hasLogSumExp: fc.boolean(),
};

const stored = fc.record({
  ...options,
  batch: fc.integer({ min: 1, max: 2 }),
  queries: length,
  keys: length,
  mask: fc.constantFrom('none' as const, 'bool' as const, 'float' as const),
  /** Along which of [B, H, Nq, Nk] the mask repeats. */
  repeats: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
  hasKeyMask: fc.boolean(),
});

const packed = fc.record({
  ...options,
  sequences: fc.array(fc.record({ queries: length, keys: length }), { minLength: 1, maxLength: 4 }),
});

type Options = { [name in keyof typeof options]: (typeof options)[name] extends fc.Arbitrary<infer T> ? T : never };

/** The options that both kinds have, for so many batch entries or sequences. */
function shared(c: Options, random: Random, batch: number): Omit<Problem, 'q' | 'k' | 'v'> {
  const heads = c.kvHeads * c.group;
  const slopeShape = c.hasSlopesPerBatch ? [batch, heads] : [heads];
  return {
    scale: c.scale,
    isCausal: c.isCausal ? c.align : false,
    window: c.window && { ...c.window, align: c.align },
    sinks: c.hasSinks ? { shape: [heads], data: random.normals([heads], 2) } : undefined,
    queryOffset: c.offset === 'none' ? undefined : Array.from({ length: batch }, () => random.integer(-20, 60)),
    asTensors: true,
    ...(c.isModified && {
      softcap: c.softcap,
      alibiSlopes: { shape: slopeShape, data: random.normals(slopeShape, 0.1) },
      dropoutP: c.dropoutP,
      dropoutSeed: 2 ** 32 + c.seed,
    }),
  };
}

function gradientsFor({ q, v }: Problem, random: Random, hasLogSumExp: boolean): OutputGradients {
  const rows = q.shape.slice(0, -1);
  const normals = (shape: number[]) => ({ shape, data: random.normals(shape) });
  return {
    output: normals([...rows, v.shape.at(-1)!]),
    ...(hasLogSumExp && { logSumExp: normals(rows) }),
  };
}

describe('gradients of the attention ops', () => {
  // npm test tries some in test/fuzz
  test.runIf(IS_MATRIX)(`agree with the reference on ${RUNS} random problems`, { timeout: TIMEOUT }, async () => {
    const property = fc.asyncProperty(stored, async (c) => {
      const random = new Random(c.seed);
      const { batch, kvHeads, group, queries, keys } = c;
      const heads = kvHeads * group;
      const makeMask = { none: undefined, bool: boolMask, float: floatMask }[c.mask];
      const maskShape = [batch, heads, queries, keys].map((size, axis) => (c.repeats[axis] ? 1 : size));
      const problem: Problem = {
        ...randomOperands(random, { ...c, heads }),
        ...shared(c, random, batch),
        mask: makeMask?.(random, maskShape),
        keyMask: c.hasKeyMask ? boolMask(random, [batch, keys], 0.8) : undefined,
        keyLengths: c.keyLengths?.slice(0, batch).map((part) => Math.round(part * keys)),
      };
      await expectGradientsOfEveryOp(problem, gradientsFor(problem, random, c.hasLogSumExp), 'float32');
    });
    await fc.assert(property, { numRuns: RUNS, seed: SEED });
  });

  test.runIf(IS_MATRIX)(`agree with the reference on ${RUNS} packed batches`, { timeout: TIMEOUT }, async () => {
    const property = fc.asyncProperty(packed, async (c) => {
      const random = new Random(c.seed);
      const [queryOffsets, keyOffsets] = [[0], [0]];
      for (const { queries, keys } of c.sequences) {
        // some without queries, some without keys
        queryOffsets.push(queryOffsets.at(-1)! + (random.uniform() < 0.1 ? 0 : queries));
        keyOffsets.push(keyOffsets.at(-1)! + (random.uniform() < 0.1 ? 0 : keys));
      }
      const [queries, keys] = [queryOffsets.at(-1)!, keyOffsets.at(-1)!];
      fc.pre(queries > 0 && keys > 0);
      const longest = Math.max(...c.sequences.map((_, s) => keyOffsets[s + 1] - keyOffsets[s]));
      const problem: Problem = {
        ...randomOperands(random, { ...c, batch: 1, heads: c.kvHeads * c.group, queries, keys }),
        ...shared(c, random, c.sequences.length),
        queryOffsets,
        keyOffsets,
        // some past the end of their own sequence
        keyLengths: c.keyLengths?.slice(0, c.sequences.length).map((part) => Math.round(part * longest)),
      };
      await expectGradientsOfEveryOp(problem, gradientsFor(problem, random, c.hasLogSumExp), 'float32');
    });
    await fc.assert(property, { numRuns: RUNS, seed: SEED });
  });
});

/** Sizes alone vary: no kernel is compiled for them. */
const plain = fc.record({
  seed: fc.nat(1e6),
  batch: fc.integer({ min: 1, max: 2 }),
  queries: length,
  keys: length,
});

type Plain = typeof plain extends fc.Arbitrary<infer T> ? T : never;

const rounding = { atol: 1e-4, rtol: 1e-4 };

function expectSame(actual: Gradients<ArrayLike<number>>, expected: Gradients<ArrayLike<number>>, what: string): void {
  expect(Object.keys(actual)).toEqual(Object.keys(expected));
  for (const name of LEAVES) {
    if (expected[name]) expectClose(actual[name]!, expected[name], rounding, `${what}, gradient of ${name}`);
  }
}

describe.each(
  narrow<AttentionOp>(isBroad ? ['flashAttention', 'scaledDotProductAttention'] : ['flashAttention'], ATTENTION_OPS),
)('gradients of %s', (op) => {
  const dims = { dim: 8, valueDim: 8 };
  const gradients = (problem: Problem, output: HostArray) => runGradients(op, problem, { output }, 'float32');

  /** Tries the property on causal problems with grouped heads. */
  async function holds(
    property: (problem: Problem & { isCausal: 'bottom-right' }, output: HostArray, random: Random) => Promise<void>,
    sizes = (c: Plain) => ({ ...c, ...dims, heads: 4, kvHeads: 2 }),
  ): Promise<void> {
    const tried = fc.asyncProperty(plain, async (c) => {
      const random = new Random(c.seed);
      const operands = randomOperands(random, sizes(c));
      const shape = [...operands.q.shape.slice(0, -1), dims.valueDim];
      await property({ ...operands, isCausal: 'bottom-right' }, { shape, data: random.normals(shape) }, random);
    });
    await fc.assert(tried, { numRuns: 8, seed: SEED });
  }

  test('are linear in the gradient of the output', async () => {
    await holds(async (problem, first, random) => {
      const second = { shape: first.shape, data: random.normals(first.shape) };
      const both = map(first, (x, at) => 2 * x - 3 * second.data[at]);
      const [one, other, combined] = [
        await gradients(problem, first),
        await gradients(problem, second),
        await gradients(problem, both),
      ];
      const expected = Object.fromEntries(
        Object.entries(one).map(([name, data]) => [name, data.map((x, at) => 2 * x - 3 * other[name as Leaf]![at])]),
      );
      expectSame(combined, expected, 'combined');
    });
  });

  test('of queries and keys do not change where all values are shifted alike', async () => {
    await holds(async (problem, output) => {
      const { shape, data } = problem.v;
      const shifted = map({ shape, data }, (x, at) => x + [1, -2, 0.5, 3][at % 4]);
      expectSame(await gradients({ ...problem, v: shifted }, output), await gradients(problem, output), 'shifted');
    });
  });

  test('move with the keys', async () => {
    await holds(async ({ q, k, v }, output) => {
      const reversed = ({ shape, data }: HostArray) => {
        const [keys, dim] = shape.slice(-2);
        return map({ shape, data }, (_, at) => {
          const [matrix, key] = [Math.floor(at / (keys * dim)), Math.floor(at / dim) % keys];
          return data[(matrix * keys + keys - 1 - key) * dim + (at % dim)];
        });
      };
      const straight = await gradients({ q, k, v }, output);
      const turned = await gradients({ q, k: reversed(k), v: reversed(v) }, output);
      const back = (data: Float32Array) => reversed({ shape: k.shape, data }).data;
      expectSame({ q: turned.q!, k: back(turned.k!), v: back(turned.v!) }, straight, 'reversed');
    });
  });

  test('of shared heads are sums over those that share them', async () => {
    await holds(async (problem, output) => {
      const repeated = ({ shape, data }: HostArray): HostArray => {
        const [batch, heads, ...rest] = shape;
        const size = rest[0] * rest[1];
        const whole = [batch, 2 * heads, ...rest];
        const values = Float32Array.from({ length: 2 * data.length }, (_, at) => {
          return data[Math.floor(at / (2 * size)) * size + (at % size)];
        });
        return { shape: whole, data: values };
      };
      const { k, v } = problem;
      const alone = await gradients({ ...problem, k: repeated(k), v: repeated(v) }, output);
      const summed = (data: Float32Array, { shape }: HostArray) => {
        const size = shape[2] * shape[3];
        return Float32Array.from({ length: data.length / 2 }, (_, at) => {
          const first = Math.floor(at / size) * 2 * size + (at % size);
          return data[first] + data[first + size];
        });
      };
      const expected = { q: alone.q!, k: summed(alone.k!, k), v: summed(alone.v!, v) };
      expectSame(await gradients(problem, output), expected, 'grouped');
    });
  });

  test('of queries and keys balance: Σ q · dq = Σ k · dk, and a float mask’s rows sum to 0', async () => {
    await holds(async (problem, output, random) => {
      const [batch, heads, queries] = problem.q.shape;
      const keys = problem.k.shape[2];
      const mask = floatMask(random, [batch, heads, queries, keys]);
      const got = await gradients({ ...problem, mask }, output);
      const product = (x: HostArray, dx: Float32Array) => dx.reduce((sum, d, at) => sum + d * x.data[at], 0);
      const [ofQueries, ofKeys] = [product(problem.q, got.q!), product(problem.k, got.k!)];
      expect(Math.abs(ofQueries - ofKeys)).toBeLessThan(1e-4 * Math.sqrt(got.mask!.length) + 1e-4);
      for (let row = 0; row < got.mask!.length; row += keys) {
        expect(Math.abs(got.mask!.subarray(row, row + keys).reduce((sum, x) => sum + x, 0))).toBeLessThan(1e-4);
      }
    });
  });

  test('are the same bits each time', async () => {
    await holds(async (problem, output, random) => {
      const mask = floatMask(random, [problem.q.shape[2], problem.k.shape[2]]);
      for (const given of [problem, { ...problem, mask }]) {
        const first = await gradients(given, output);
        for (let i = 0; i < 2; i++) expect(await gradients(given, output)).toEqual(first);
      }
    });
  });

  test('of a batch are those of its entries', async () => {
    await holds(async (problem, output) => {
      const whole = await gradients(problem, output);
      const entry = (x: HostArray) => slice(x, 0, 0, 1);
      const { q, k, v } = problem;
      const alone = await gradients({ ...problem, q: entry(q), k: entry(k), v: entry(v) }, entry(output));
      for (const name of ['q', 'k', 'v'] as const) {
        expectClose(alone[name]!, whole[name]!.subarray(0, alone[name]!.length), rounding, name);
      }
    });
  });
});
