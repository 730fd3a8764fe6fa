/** The analytic gradient of attention against finite differences of attention, and what must hold whatever both compute. */
import { describe, expect, test } from 'vitest';
import { describeConformance, type LocalCase, type SdpaCase } from '../conformance.ts';
import { Random } from '../random.ts';
import { attention, type AttentionOptions } from './attention.ts';
import { attentionGradient, type AttentionGradients } from './attention-gradient.ts';
import { expectClose } from './compare.ts';
import { attentionDropout } from './dropout.ts';
import { numericalGradients } from './finite-differences.ts';
import { localOptions, sdpaOptions } from './golden-options.ts';
import type { HostArray } from './host-array.ts';
import { packedAttention, packedAttentionGradient, type PackedOptions } from './packed-attention.ts';

/** Truncation and rounding of the finite differences. */
const numerical = { atol: 1e-8, rtol: 1e-7 };
const [batch, heads, kvHeads, queries, keys, dim, valueDim] = [2, 4, 2, 3, 5, 2, 3];

const random = new Random(1);
const normals = (...shape: number[]): HostArray => ({ shape, data: Float64Array.from(random.normals(shape)) });
const bools = (...shape: number[]): HostArray => ({ shape, data: random.bools(shape, 0.6) });
const operands = () =>
  [
    normals(batch, heads, queries, dim),
    normals(batch, kvHeads, keys, dim),
    normals(batch, kvHeads, keys, valueDim),
  ] as const;
const ofResults = () => ({
  output: normals(batch, heads, queries, valueDim),
  logSumExp: normals(batch, heads, queries),
  weights: normals(batch, heads, queries, keys),
});
const RESULTS = ['output', 'logSumExp', 'weights'] as const;

/** Some are hidden, and one row has no key. */
function numbers(...shape: number[]): HostArray {
  const { data } = normals(...shape);
  const columns = shape[shape.length - 1];
  return { shape, data: Array.from(data, (x, at) => (at % 3 === 1 || at < columns ? -Infinity : x)) };
}

function expectNumerical(
  actual: AttentionGradients,
  expected: HostArray[],
  names: readonly (keyof AttentionGradients)[],
) {
  for (const [at, name] of names.entries()) {
    expect(actual[name]!.shape).toEqual(expected[at].shape);
    expectClose(actual[name]!.data, expected[at].data, numerical, name);
  }
}

describe('is what finite differences give', () => {
  const options: Record<string, AttentionOptions> = {
    plain: {},
    scale: { scale: -1.5 },
    'bool mask': { mask: bools(batch, 1, queries, keys) },
    'float mask': { mask: numbers(batch, heads, queries, keys) },
    'float mask that repeats': { mask: numbers(heads, 1, keys) },
    'float mask that repeats along keys': { mask: normals(queries, 1) },
    'key mask': { keyMask: bools(batch, keys) },
    'every key hidden': { keyMask: { shape: [batch, keys], data: new Uint8Array(batch * keys) } },
    causal: { isCausal: true },
    'causal, bottom-right': { isCausal: 'bottom-right' },
    window: { window: { left: 1, right: 0 } },
    'window, bottom-right': { window: { left: 0, right: 1, align: 'bottom-right' } },
    softcap: { scale: 3, softcap: 1.5 },
    ALiBi: { alibiSlopes: normals(heads), isCausal: 'bottom-right' },
    'ALiBi of each batch entry': { alibiSlopes: normals(batch, heads) },
    sinks: { sinks: normals(heads) },
    'sinks, and rows without keys': { sinks: normals(heads), keyLengths: [0, 3] },
    'query offset and key lengths': { queryOffset: [1, -2], keyLengths: [4, 2], isCausal: true },
    scoreMod: {
      softcap: 4,
      alibiSlopes: normals(heads),
      scoreMod: (score, b, h, i, j) => Math.sin(score) * (1 + b + h) + 0.1 * i * j,
      scoreModDerivative: (score, b, h) => Math.cos(score) * (1 + b + h),
    },
    maskMod: { maskMod: (b, h, i, j) => (b + h + i + j) % 3 > 0 },
    dropout: { dropout: attentionDropout(0.4, 5, heads) },
    'dropout of everything else too': {
      dropout: attentionDropout(0.25, 6, heads),
      mask: numbers(queries, keys),
      sinks: normals(heads),
      softcap: 2,
      isCausal: 'bottom-right',
    },
  };

  test.each(Object.entries(options))('%s', (_name, given) => {
    const [q, k, v] = operands();
    const gradients = ofResults();
    const { mask, sinks } = given;
    const ofMask = mask && !(mask.data instanceof Uint8Array) ? [mask] : [];
    const ofSinks = sinks ? [sinks] : [];
    const expected = numericalGradients(
      (Q, K, V, ...rest) => {
        const varied = { ...given, ...(ofMask.length && { mask: rest[0] }), ...(sinks && { sinks: rest.at(-1) }) };
        const results = attention(Q, K, V, varied);
        return RESULTS.map((name) => results[name]);
      },
      [q, k, v, ...ofMask, ...ofSinks],
      RESULTS.map((name) => gradients[name]),
    );
    const names = [
      'q',
      'k',
      'v',
      ...ofMask.map(() => 'mask' as const),
      ...ofSinks.map(() => 'sinks' as const),
    ] as const;
    const actual = attentionGradient(q, k, v, gradients, given);
    expectNumerical(actual, expected, names);
    expect(Object.keys(actual)).toHaveLength(names.length);
  });

  test.each(RESULTS)('through %s alone', (name) => {
    const [q, k, v] = operands();
    const gradient = ofResults()[name];
    const expected = numericalGradients((Q, K, V) => attention(Q, K, V)[name], [q, k, v], gradient);
    expectNumerical(attentionGradient(q, k, v, { [name]: gradient }), expected, ['q', 'k', 'v']);
  });

  test('packed sequences', () => {
    const [q, k, v] = [normals(1, heads, 6, dim), normals(1, kvHeads, 7, dim), normals(1, kvHeads, 7, valueDim)];
    const sinks = normals(heads);
    const given: PackedOptions = {
      queryOffsets: [0, 2, 2, 6],
      keyOffsets: [0, 4, 5, 7],
      isCausal: 'bottom-right',
      queryOffset: [1, 0, -1],
      alibiSlopes: normals(3, heads),
      dropout: attentionDropout(0.3, 9, heads),
    };
    const gradients = {
      output: normals(1, heads, 6, valueDim),
      logSumExp: normals(1, heads, 6),
      weights: normals(1, heads, 6, 7),
    };
    const expected = numericalGradients(
      (Q, K, V, S) => {
        const results = packedAttention(Q, K, V, { ...given, sinks: S });
        return RESULTS.map((name) => results[name]);
      },
      [q, k, v, sinks],
      RESULTS.map((name) => gradients[name]),
    );
    const actual = packedAttentionGradient(q, k, v, gradients, { ...given, sinks });
    expectNumerical(actual, expected, ['q', 'k', 'v', 'sinks']);
  });

  test('3-D operands of one head', () => {
    const [q, k, v] = [normals(batch, queries, dim), normals(batch, keys, dim), normals(batch, keys, valueDim)];
    for (const mask of [normals(queries, keys), normals(batch, 1, keys)]) {
      const gradient = normals(batch, queries, valueDim);
      const expected = numericalGradients(
        (Q, K, V, M) => attention(Q, K, V, { mask: M }).output,
        [q, k, v, mask],
        gradient,
      );
      expectNumerical(attentionGradient(q, k, v, { output: gradient }, { mask }), expected, ['q', 'k', 'v', 'mask']);
    }
  });
});

test('a scoreMod without a derivative is refused', () => {
  const [q, k, v] = operands();
  const scoreMod = (score: number) => score;
  expect(() => attentionGradient(q, k, v, ofResults(), { scoreMod })).toThrow('needs scoreModDerivative');
});

test('reads no hidden key, nor the value of a dropped one', () => {
  const [q, k, v] = operands();
  const poisoned = ({ shape, data }: HostArray): HostArray => ({
    shape,
    data: Array.from(data, (x, at) =>
      Math.floor((at * keys) / (data.length / (batch * kvHeads))) % keys === 2 ? NaN : x,
    ),
  });
  const gradients = { output: ofResults().output };
  const hidden = { maskMod: (_b: number, _h: number, _i: number, key: number) => key !== 2 };
  const clean = attentionGradient(q, k, v, gradients, hidden);
  expect(attentionGradient(q, poisoned(k), poisoned(v), gradients, hidden)).toEqual(clean);
  const dropped = { dropout: { p: 0.2, keep: hidden.maskMod } };
  const { q: dq } = attentionGradient(q, k, poisoned(v), gradients, dropped);
  expect(dq).toEqual(attentionGradient(q, k, v, gradients, dropped).q);
});

/** PyTorch's gradients are float64 rounded to float32. */
const stored = { atol: 1e-7, rtol: 1e-6 };

function expectGolden(c: SdpaCase | LocalCase, options: AttentionOptions): void {
  const { q, k, v, mask } = attentionGradient(
    c.tensor('q'),
    c.tensor('k'),
    c.tensor('v'),
    { output: c.tensor('dout') },
    options,
  );
  for (const [name, { data }] of Object.entries({ dq: q, dk: k, dv: v })) {
    expectClose(data, c.tensor(name).data, stored, name);
  }
  if (c.has('dbias')) expectClose(mask!.data, c.tensor('dbias').data, stored, 'dbias');
}

await describeConformance('sdpa', (cases) => {
  test.each(cases)('$name', (c) => expectGolden(c, sdpaOptions(c)));
});

await describeConformance('local', (cases) => {
  test.each(cases)('$name', (c) => expectGolden(c, localOptions(c)));
});
