/** Modifiers in the attention ops, against the float64 reference with the same function in JavaScript. */
import { beforeAll, describe, expect, test } from 'vitest';
import {
  alibi,
  ArgumentError,
  type AttentionOptions,
  causalMask,
  type Device,
  documentMask,
  flashAttention,
  localAttention,
  maskMod,
  prefixLm,
  scaledDotProductAttention,
  scoreMod,
  ShaderError,
  slidingWindow,
  softcap,
  type Captures,
  type MaskMod,
  type ScoreMod,
} from '../../../src/index.ts';
import { testDevice, triesEveryKernel } from '../../device.ts';
import { counted } from '../../gpu/affine.ts';
import { narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import type { MaskFunction } from '../../reference/block-mask.ts';
import { anyMask, anyScore, type ScoreShape, type Shift } from './any-modifiers.ts';
import { ATTENTION_OPS, expectAttention, expectEveryOp, type Problem } from './attention-run.ts';
import { boolMask, call, floatMask, map, randomOperands } from './attention-suite.ts';
import { type Float } from '../upload.ts';

const isBroad = await triesEveryKernel();

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const score = (body: string, captures?: Captures): ScoreMod =>
  scoreMod(`fn score_mod(s: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {\n  ${body}\n}`, { captures });
const mask = (body: string, captures?: Captures): MaskMod =>
  maskMod(`fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool {\n  ${body}\n}`, { captures });

/** Grouped heads, and lengths and dims that nothing divides. */
const operands = randomOperands(new Random(1), { batch: 2, heads: 4, kvHeads: 2, queries: 45, keys: 71, dim: 19 });
const [QUERIES, KEYS] = [45, 71];

type Twin = Pick<Problem, 'scoreMod' | 'maskMod'>;

describe('ready-made modifiers', () => {
  const slopes = [0.5, 0.25, 0.0625, 1];
  const documents = Int32Array.from({ length: KEYS }, (_, i) => Math.floor(i / 20) - 1);
  const documentsByEntry = Uint32Array.from({ length: 2 * KEYS }, (_, i) =>
    Math.floor((i % KEYS) / (i < KEYS ? 9 : 30)),
  );
  const prefixes = Int32Array.from([50, 0]);

  test.each<[string, (device: Device) => AttentionOptions, Twin]>([
    ['causalMask', () => ({ maskMod: causalMask() }), { maskMod: (_b, _h, i, j) => j <= i }],
    ['causalMask, offset', () => ({ maskMod: causalMask({ offset: -3 }) }), { maskMod: (_b, _h, i, j) => j <= i - 3 }],
    [
      'slidingWindow',
      () => ({ maskMod: slidingWindow(7, { offset: 26 }) }),
      { maskMod: (_b, _h, i, j) => j <= i + 26 && j >= i + 19 },
    ],
    [
      'prefixLm, a number',
      () => ({ maskMod: prefixLm(13, { offset: 2 }) }),
      { maskMod: (_b, _h, i, j) => j < 13 || j <= i + 2 },
    ],
    [
      'prefixLm of each batch entry',
      (d) => ({ maskMod: prefixLm(d.tensor(prefixes, [2])) }),
      { maskMod: (b, _h, i, j) => j < prefixes[b] || j <= i },
    ],
    [
      'documentMask',
      (d) => ({ maskMod: documentMask(d.tensor(documents, [KEYS])) }),
      { maskMod: (_b, _h, i, j) => documents[i] === documents[j] },
    ],
    [
      'documentMask of each batch entry, causal',
      (d) => ({ maskMod: documentMask(d.tensor(documentsByEntry, [2, KEYS]), { isCausal: true }) }),
      { maskMod: (b, _h, i, j) => documentsByEntry[b * KEYS + i] === documentsByEntry[b * KEYS + j] && j <= i },
    ],
    [
      'alibi',
      (d) => ({ scoreMod: alibi(d.tensor(slopes, [4]), { offset: 5 }) }),
      { scoreMod: (s, _b, h, i, j) => s - slopes[h] * Math.abs(i + 5 - j) },
    ],
    [
      'alibi by the number of heads',
      () => ({ scoreMod: alibi(4) }),
      { scoreMod: (s, _b, h, i, j) => s - 2 ** (-2 * (h + 1)) * Math.abs(i - j) },
    ],
    ['softcap', () => ({ scoreMod: softcap(0.75) }), { scoreMod: (s) => 0.75 * Math.tanh(s / 0.75) }],
  ])('%s', async (_name, modifiers, twin) => {
    // the kernel that compiles the fastest; the texts are the same in all
    await expectAttention('scaledDotProductAttention', { ...operands, modifiers, ...twin }, 'float32');
  });

  test('softcap of scores of ±10⁴', async () => {
    const far = { ...operands, q: map(operands.q, (x) => 1e4 * x) };
    const twin: Twin = { scoreMod: (s) => 0.75 * Math.tanh(s / 0.75) };
    const problem = { ...far, modifiers: () => ({ scoreMod: softcap(0.75) }), ...twin };
    await expectAttention('scaledDotProductAttention', problem, 'float32', { isFar: true });
  });
});

describe('captures', () => {
  const random = new Random(2);
  const bias = random.normals([4, KEYS]);
  const far = Int32Array.from({ length: 2 * QUERIES }, () => random.integer(-5, 5));
  const seen = random.bools([3, 5, 7]);
  const halves = Float32Array.from({ length: 3 * 5 }, () => random.integer(-8, 8) / 4);

  const modifiers = (d: Device): AttentionOptions => ({
    scoreMod: score(
      `var sum = s * scale() + bias(h, j);
       for (var n = 0u; n < 2u; n++) { sum += 0.01 * f32(far(b, i + n)); }
       return sum + far_scale() * halves(h, j / 16u);`,
      {
        bias: d.tensor(bias, [4, KEYS]),
        far: d.tensor(far, [2, QUERIES]),
        halves: d.tensor(halves, [3, 5], { dtype: 'float16' }),
        scale: 0.5,
        far_scale: -0.25,
      },
    ),
    maskMod: mask('return seen(h, i / 9u, j / 11u) || f32(j) < limit();', {
      seen: d.tensor(seen, [3, 5, 7]),
      limit: 8,
    }),
  });
  const twin: Twin = {
    scoreMod: (s, b, h, i, j) => {
      const both = far[b * QUERIES + i] + far[b * QUERIES + Math.min(i + 1, QUERIES - 1)];
      return 0.5 * s + bias[h * KEYS + j] + 0.01 * both - 0.25 * halves[5 * Math.min(h, 2) + Math.floor(j / 16)];
    },
    maskMod: (_b, h, i, j) =>
      seen[35 * Math.min(h, 2) + 7 * Math.min(Math.floor(i / 9), 4) + Math.min(Math.floor(j / 11), 6)] === 1 || j < 8,
  };

  test('of every kind in both modifiers', async () => {
    await expectAttention('scaledDotProductAttention', { ...operands, modifiers, ...twin }, 'float32');
  });
});

/** Both modifiers at once, tabulated from functions. */
function modified(
  shape: ScoreShape,
  hides: MaskFunction,
  shift: Shift,
): Pick<Problem, 'modifiers' | 'scoreMod' | 'maskMod'> {
  return {
    modifiers: (d) => ({
      maskMod: anyMask(d, shape, (...at) => !hides(...at)),
      scoreMod: anyScore(d, shape, 0.5, shift),
    }),
    maskMod: (...at) => !hides(...at),
    scoreMod: (s, ...at) => 0.5 * s + shift(...at),
  };
}

const perHead = modified(
  [2, 4, QUERIES, KEYS],
  (b, h, i, j) => (i + 3 * j + 5 * b) % (h + 2) === 0,
  (b, h, i, j) => ((b + h + i + j) % 5) / 4,
);

test.runIf(isBroad).each(narrow<Float>(['float32'], ['float32', 'float16']))(
  'batch entries and heads differ, %s',
  async (dtype) => {
    await expectEveryOp({ ...operands, ...perHead }, dtype);
  },
);

test('with all options, in their order', async () => {
  const random = new Random(6);
  const options: Partial<Problem> = {
    softcap: 2,
    alibiSlopes: { shape: [4], data: [0.1, 0.2, 0.3, 0.4] },
    sinks: { shape: [4], data: [1, -1, 0, 0.5] },
    isCausal: 'bottom-right',
    mask: floatMask(random, [4, QUERIES, KEYS]),
    keyMask: boolMask(random, [2, KEYS], 0.9),
    scale: 0.7,
  };
  await expectEveryOp({ ...operands, ...options, ...perHead }, 'float32');
});

test('with lengths and offsets of each batch entry', async () => {
  const lengths = { keyLengths: [71, 23], queryOffset: [20, -4], isCausal: true };
  await expectEveryOp({ ...operands, ...lengths, ...perHead }, 'float32');
});

test('queries and keys of a packed batch are counted from the beginning of their sequence', async () => {
  const packed = {
    ...randomOperands(new Random(3), { batch: 1, heads: 4, kvHeads: 4, queries: 93, keys: 70, dim: 19 }),
    queryOffsets: [0, 40, 47, 93],
    keyOffsets: [0, 30, 31, 70],
    ...modified(
      [3, 4, 46, 39],
      (b, _h, i, j) => (i + j + b) % 3 === 0,
      (b, h, i, j) => 0.1 * b - 0.02 * i * h + 0.03 * j,
    ),
  };
  await expectEveryOp(packed, 'float32');
});

test('3-D tensors have one head', async () => {
  const { q, k, v } = randomOperands(new Random(4), { heads: 1, queries: 40, keys: 33, dim: 19 });
  const flat = ({ shape: [b, , ...rest], data }: typeof q) => ({ shape: [b, ...rest], data });
  const problem = modified(
    [2, 1, 40, 33],
    (b, h, i, j) => (i + b) % 4 === h && j > 8,
    (b, h, _i, j) => b * (j % 3) + h,
  );
  await expectEveryOp({ q: flat(q), k: flat(k), v: flat(v), ...problem }, 'float32');
});

test('a mask modifier hides whatever a key holds, and rows that see nothing are zero', async () => {
  const poison = (bad: number) => (x: number, at: number) => (Math.floor(at / 19) % KEYS === 40 ? bad : x);
  const poisoned = { ...operands, k: map(operands.k, poison(NaN)), v: map(operands.v, poison(Infinity)) };
  const hides: MaskFunction = (b, h, i, j) => j === 40 || i % 4 === 1 || (b === 1 && h === 2);
  const problem = modified([2, 4, QUERIES, KEYS], hides, () => 0);
  const { flashAttention: results } = await expectEveryOp({ ...poisoned, ...problem }, 'float32');
  expect(Array.from(results.logSumExp.slice(0, 3))).toEqual([expect.any(Number), -Infinity, expect.any(Number)]);
});

test('one query against many keys', async () => {
  const one = randomOperands(new Random(5), { heads: 4, kvHeads: 1, queries: 1, keys: 700, dim: 32 });
  const problem = modified(
    [2, 4, 1, 700],
    (b, _h, _i, j) => j % 7 <= b,
    (_b, h, _i, j) => 0.5 * h * (j % 5),
  );
  await expectEveryOp({ ...one, ...problem }, 'float32');
});

test('helpers, constants, structs and loops of the source', async () => {
  const source = `
    const PARAMS: u32 = 3u;  // names of the kernel's own are free
    struct Tile { head: u32, weight: f32 }
    alias Sequence = Tile;
    /* the distance in buckets, as T5's */
    fn bucket(distance: u32) -> u32 {
      var found = 0u;
      for (var step = 0u; step < 5u; step++) {
        if distance >= (1u << step) { found = step + 1u; }
      }
      return min(found, PARAMS);
    }
    fn score_mod(score: f32, q: u32, k: u32, v: u32, output: u32) -> f32 {
      let table = Sequence(k, 0.25);
      let params = select(v - output, output - v, output > v);
      return score + table.weight * f32(bucket(params)) * f32(table.head + 1u);
    }`;
  const bucket = (distance: number) => Math.min(distance === 0 ? 0 : Math.floor(Math.log2(distance)) + 1, 3);
  const twin: Twin = { scoreMod: (s, _b, h, i, j) => s + 0.25 * bucket(Math.abs(i - j)) * (h + 1) };
  const modifiers = () => ({ scoreMod: scoreMod(source) });
  await expectAttention('scaledDotProductAttention', { ...operands, modifiers, ...twin }, 'float32');
});

test('neither captures nor lengths compile anything; nor does the same text in another modifier', async () => {
  const run = (queries: number, keys: number) =>
    device.scope(() => {
      const [q, k] = [device.randn([1, 2, queries, 16]), device.randn([1, 2, keys, 16])];
      const shape: ScoreShape = [1, 1, queries, keys];
      const maskMod = anyMask(device, shape, (_b, _h, i, j) => j <= i);
      for (const op of ATTENTION_OPS)
        call(op, q, k, k, { maskMod, scoreMod: anyScore(device, shape, keys, () => keys) });
    });
  run(40, 40);
  expect(counted(device.runtime, () => run(90, 57)).pipelines).toBe(0);
  await device.sync();
});

describe('what only the compiler finds', () => {
  test.each(ATTENTION_OPS)('is told with line and column by %s', async (op) => {
    const q = device.randn([1, 1, 4, 8]);
    const oops: [AttentionOptions, string][] = [
      [
        { scoreMod: score('let distance = i32(i) - i32(j);\n    return s + distance;') },
        'scoreMod line 3, column 12: ',
      ],
      [{ maskMod: mask('return j > 1.5;') }, 'maskMod line 2, column 10: '],
      [
        { scoreMod: score('return s;'), maskMod: mask('return slope(j) < 1;', { slope: 2 }) },
        'maskMod line 2, column 10: ',
      ],
    ];
    for (const [options, place] of oops) {
      call(op, q, q, q, options).output.dispose();
      const error = await device.sync().catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(ShaderError);
      expect((error as Error).message).toMatch(`${op}: ${place}`);
      expect((error as Error).message).not.toMatch(/_mod_|\n/);
    }
    q.dispose();
    await expectAttention(op, operands, 'float32');
  });
});

describe('refuses', () => {
  const q = () => device.zeros([1, 2, 4, 8]);
  test.each<[string, (options: AttentionOptions) => unknown]>([
    ['flashAttention', (options) => flashAttention(q(), q(), q(), options)],
    ['localAttention', (options) => localAttention(q(), q(), q(), { ...options, window: { left: 1, right: 1 } })],
    ['scaledDotProductAttention', (options) => scaledDotProductAttention(q(), q(), q(), options)],
  ])('in %s', (op, run) => {
    device.scope(() => {
      const bias = device.zeros([2]);
      const stale = score('return s + bias(j);', { bias });
      bias.dispose();
      const refused: [AttentionOptions, string][] = [
        [{ scoreMod: ((s: number) => s) as never }, 'scoreMod must be made by scoreMod(), got a JavaScript function'],
        [{ scoreMod: causalMask() as never }, 'scoreMod must be made by scoreMod(), got a maskMod'],
        [{ maskMod: softcap(1) as never }, 'maskMod must be made by maskMod(), got a scoreMod'],
        [{ maskMod: 'causal' as never }, "maskMod must be made by maskMod(), got 'causal'"],
        [{ scoreMod: stale }, "scoreMod's capture bias must not be disposed, got a disposed tensor of [2]"],
      ];
      const tensors = (count: number) =>
        Object.fromEntries(Array.from({ length: count }, (_, i) => [`t${i}`, device.zeros([1])]));
      refused.push([
        { scoreMod: score('return s;', tensors(3)), maskMod: mask('return true;', tensors(2)) },
        'scoreMod and maskMod must capture at most 4 tensors, got 5',
      ]);
      for (const [options, message] of refused) {
        expect(() => run(options)).toThrow(new ArgumentError(`${op}: ${message}`));
      }
    });
  });
});
