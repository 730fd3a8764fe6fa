/** The references' options by what must hold whatever they compute: the same problem put in two ways. */
import { describe, expect, test } from 'vitest';
import { Random } from '../random.ts';
import { attention, type AttentionOptions, type AttentionResult } from './attention.ts';
import { attentionInFloat16 } from './attention-float16.ts';
import { expectClose } from './compare.ts';
import { concat, type HostArray, slice } from './host-array.ts';
import { mergeAttention } from './merge-attention.ts';
import { packedAttention } from './packed-attention.ts';
import { visibility } from './visibility.ts';

const rounding = { atol: 1e-12, rtol: 1e-12 };
const [batch, heads, kvHeads, queries, keys, dim] = [2, 4, 2, 5, 9, 3];

const array = (shape: number[], data: ArrayLike<number>): HostArray => ({ shape, data });
const normals = (random: Random, ...shape: number[]) => array(shape, Float64Array.from(random.normals(shape)));

function operands(seed: number, { b = batch, nq = queries, nk = keys } = {}) {
  const random = new Random(seed);
  return [
    normals(random, b, heads, nq, dim),
    normals(random, b, kvHeads, nk, dim),
    normals(random, b, kvHeads, nk, dim),
  ] as const;
}

function expectSame(actual: AttentionResult, expected: AttentionResult): void {
  for (const name of ['output', 'weights', 'logSumExp'] as const) {
    expect(actual[name].shape).toEqual(expected[name].shape);
    expectClose(actual[name].data, expected[name].data, rounding, name);
  }
}

describe('softcap', () => {
  test('caps by tanh: bounded, and no change if the cap is far away', () => {
    const [q, k, v] = operands(1);
    const { scores } = attention(q, k, v, { scale: 50, softcap: 2, returnScores: 'capped' });
    const plain = attention(q, k, v, { scale: 50, returnScores: 'scaled' }).scores!;
    scores!.data.forEach((score, at) => {
      expect(Math.abs(score)).toBeLessThanOrEqual(2);
      // the exponential form of tanh
      const e = Math.exp(plain.data[at]);
      if (e < 1e150 && e > 1e-150) expect(score).toBeCloseTo((2 * (e - 1)) / (e + 1), 12);
    });
    const far = attention(q, k, v, { softcap: 1e8 });
    expectClose(far.output.data, attention(q, k, v).output.data, { atol: 1e-10, rtol: 0 }, 'output');
  });

  test('comes before the mask', () => {
    const [q, k, v] = operands(2);
    const mask = normals(new Random(3), queries, keys);
    const { scores } = attention(q, k, v, { softcap: 1, returnScores: 'capped' });
    expectSame(
      attention(q, k, v, { softcap: 1, mask }),
      attention(q, k, v, {
        scale: 0,
        mask: array(
          [...scores!.shape],
          scores!.data.map((s, at) => s + mask.data[at % (queries * keys)]),
        ),
      }),
    );
  });
});

describe('alibiSlopes', () => {
  test.each([
    { isCausal: false as const, from: [0, 0] },
    { isCausal: 'bottom-right' as const, from: [keys - queries, keys - queries] },
    { isCausal: 'bottom-right' as const, keyLengths: [9, 7], from: [4, 2] },
    { window: { left: 3, right: 1, align: 'bottom-right' as const }, from: [4, 4] },
    { isCausal: 'bottom-right' as const, queryOffset: [-1, 6], from: [-1, 6] },
  ])('are a float mask: %j', ({ from, ...options }) => {
    const [q, k, v] = operands(4);
    for (const shape of [[heads], [batch, heads]]) {
      const alibiSlopes = normals(new Random(5), ...shape);
      const mask = array(
        [batch, heads, queries, keys],
        Array.from({ length: batch * heads * queries * keys }, (_, at) => {
          const [j, i] = [at % keys, Math.floor(at / keys) % queries];
          const [h, b] = [Math.floor(at / (keys * queries)) % heads, Math.floor(at / (keys * queries * heads))];
          const slope = alibiSlopes.data[shape.length === 1 ? h : b * heads + h];
          return -slope * Math.abs(i + from[b] - j);
        }),
      );
      expectSame(attention(q, k, v, { ...options, alibiSlopes }), attention(q, k, v, { ...options, mask }));
    }
  });
});

describe('sinks', () => {
  test('are one more key with that logit and the value 0', () => {
    const [q, k, v] = operands(6);
    const sinks = normals(new Random(7), heads);
    const mask = array(
      [heads, queries, keys + 1],
      Array.from({ length: heads * queries * (keys + 1) }, (_, at) => {
        const [j, h] = [at % (keys + 1), Math.floor(at / ((keys + 1) * queries))];
        // the score without the mask: that of a key of zeros
        return j === keys ? sinks.data[h] : j > Math.floor(at / (keys + 1)) % queries ? -Infinity : 0;
      }),
    );
    const zeroKey = array([batch, kvHeads, 1, dim], new Float64Array(batch * kvHeads * dim));
    const longer = attention(q, concat([k, zeroKey], 2), concat([v, zeroKey], 2), { mask });
    const result = attention(q, k, v, { sinks, isCausal: true });
    expectClose(result.output.data, longer.output.data, rounding, 'output');
    expectClose(result.logSumExp.data, longer.logSumExp.data, rounding, 'logSumExp');
    expectClose(result.weights.data, slice(longer.weights, 3, 0, keys).data, rounding, 'weights');
  });

  test('are the log-sum-exp of a row without keys', () => {
    const [q, k, v] = operands(8);
    const sinks = array([heads], [3, -2, 0.5, -Infinity]);
    const { output, logSumExp } = attention(q, k, v, { sinks, keyLengths: [0, 0] });
    expect(output.data.every((x) => x === 0)).toBe(true);
    expect(Array.from(logSumExp.data)).toEqual(
      Array.from({ length: batch * heads * queries }, (_, row) => sinks.data[Math.floor(row / queries) % heads]),
    );
  });
});

describe('queryOffset', () => {
  test.each<AttentionOptions>([
    { isCausal: true },
    { window: { left: 3, right: 1 } },
    { isCausal: 'bottom-right', window: { left: 2, right: -1, align: 'top-left' } },
    { isCausal: true, alibiSlopes: array([heads], [1, 0.5, -0.25, 0]) },
  ])('is a slice of the rows of a longer problem: %j', (options) => {
    const [q, k, v] = operands(9, { nq: keys });
    const whole = attention(q, k, v, options);
    for (const from of [0, 1, 4]) {
      const part = attention(slice(q, 2, from, from + queries), k, v, { ...options, queryOffset: from });
      expectClose(part.output.data, slice(whole.output, 2, from, from + queries).data, rounding, 'output');
      expectClose(part.logSumExp.data, slice(whole.logSumExp, 2, from, from + queries).data, rounding, 'logSumExp');
    }
  });

  test('is a slice of the keys where it is negative', () => {
    const [q, k, v] = operands(10, { nq: keys });
    // rows that begin before the keys: as if these were the last of a longer row of keys
    const part = attention(q, slice(k, 2, 3, keys), slice(v, 2, 3, keys), { isCausal: true, queryOffset: -3 });
    const mask = visibility([batch, heads, keys, keys], { isCausal: true }).data;
    for (let at = 0; at < mask.length; at++) if (at % keys < 3) mask[at] = -Infinity;
    const whole = attention(q, k, v, { mask: array([batch, heads, keys, keys], mask) });
    expectClose(part.output.data, whole.output.data, rounding, 'output');
    expectClose(part.logSumExp.data, whole.logSumExp.data, rounding, 'logSumExp');
    expect(part.logSumExp.data.slice(0, 4)).toEqual(
      Float64Array.of(-Infinity, -Infinity, -Infinity, part.logSumExp.data[3]),
    );
  });
});

describe('keyLengths', () => {
  test.each<AttentionOptions>([
    {},
    { isCausal: true },
    { isCausal: 'bottom-right' },
    { window: { left: 2, right: 0, align: 'bottom-right' } },
    { isCausal: 'bottom-right', alibiSlopes: array([heads], [1, 0.5, -0.25, 0]), softcap: 3 },
  ])('are each entry with its own keys alone: %j', (options) => {
    const [q, k, v] = operands(11);
    const keyLengths = [6, 3];
    const whole = attention(q, k, v, { ...options, keyLengths });
    keyLengths.forEach((length, b) => {
      const entry = [slice(q, 0, b, b + 1), ...[k, v].map((x) => slice(slice(x, 0, b, b + 1), 2, 0, length))] as const;
      const alone = attention(entry[0], entry[1], entry[2], options);
      expectClose(slice(whole.output, 0, b, b + 1).data, alone.output.data, rounding, 'output');
      expectClose(slice(whole.logSumExp, 0, b, b + 1).data, alone.logSumExp.data, rounding, 'logSumExp');
      expectClose(slice(slice(whole.weights, 0, b, b + 1), 3, 0, length).data, alone.weights.data, rounding, 'weights');
    });
  });

  test('hide what lies past them', () => {
    const [q, k, v] = operands(12);
    const poison = ({ shape, data }: HostArray) =>
      array(
        [...shape],
        Array.from(data, (x, at) => (Math.floor(at / dim) % keys >= 4 ? NaN : x)),
      );
    const options = { keyLengths: [4, 4] };
    expectSame(attention(q, poison(k), poison(v), options), attention(q, k, v, options));
  });
});

describe('packed sequences', () => {
  const queryOffsets = [0, 2, 2, 5];
  const keyOffsets = [0, 4, 6, 9];
  const [q, k, v] = operands(13, { b: 1 });
  const sequenceOf = (offsets: readonly number[], at: number) => offsets.findIndex((end) => at < end) - 1;
  /** The same as masks over the whole, from where each sequence begins. */
  const whole = (options: AttentionOptions, isSeen: (ahead: number) => boolean, from: (s: number) => number) =>
    attention(q, k, v, {
      ...options,
      maskMod: (_b, _h, i, j) => {
        const s = sequenceOf(queryOffsets, i);
        return s === sequenceOf(keyOffsets, j) && isSeen(j - keyOffsets[s] - (i - queryOffsets[s]) - from(s));
      },
    });
  const bottomRight = (s: number) => keyOffsets[s + 1] - keyOffsets[s] - (queryOffsets[s + 1] - queryOffsets[s]);

  test('are documents of one long sequence', () => {
    const packed = { queryOffsets, keyOffsets };
    const sinks = array([heads], [0, 1, -1, 2]);
    expectSame(
      packedAttention(q, k, v, { ...packed, softcap: 2, sinks }),
      whole(
        { softcap: 2, sinks },
        () => true,
        () => 0,
      ),
    );
    expectSame(
      packedAttention(q, k, v, { ...packed, isCausal: true }),
      whole(
        {},
        (ahead) => ahead <= 0,
        () => 0,
      ),
    );
    expectSame(
      packedAttention(q, k, v, { ...packed, isCausal: 'bottom-right' }),
      whole({}, (ahead) => ahead <= 0, bottomRight),
    );
    expectSame(
      packedAttention(q, k, v, { ...packed, window: { left: 1, right: 1 }, queryOffset: [1, 0, -2] }),
      whole(
        {},
        (ahead) => Math.abs(ahead) <= 1,
        (s) => [1, 0, -2][s],
      ),
    );
  });

  test('are batch entries where all have one length', () => {
    const [q, k, v] = operands(14);
    // [B, H, N, D] → [1, H, B·N, D]
    const pack = (x: HostArray) =>
      concat(
        Array.from({ length: batch }, (_, b) => slice(x, 0, b, b + 1)),
        2,
      );
    const scoreMod: AttentionOptions['scoreMod'] = (score, b, h, i, j) => score * (1 + b) + h - i * j;
    const maskMod: AttentionOptions['maskMod'] = (b, h, i, j) => (b + 2 * h + i + 3 * j) % 4 > 0;
    const options = {
      alibiSlopes: normals(new Random(15), batch, heads),
      queryOffset: [3, -1],
      isCausal: true,
      scoreMod,
      maskMod,
    };
    const packed = packedAttention(pack(q), pack(k), pack(v), {
      ...options,
      queryOffsets: [0, queries, 2 * queries],
      keyOffsets: [0, keys, 2 * keys],
    });
    const { output, logSumExp } = attention(q, k, v, options);
    expectClose(packed.output.data, pack(output).data, rounding, 'output');
    expectClose(packed.logSumExp.data, pack(logSumExp).data, rounding, 'logSumExp');
  });
});

describe('modifiers', () => {
  const [q, k, v] = operands(16);

  test('say what options do', () => {
    const slopes = [1, 0.5, -0.25, 0];
    expectSame(
      attention(q, k, v, {
        scoreMod: (score, _b, h, i, j) => 2 * Math.tanh(score / 2) - slopes[h] * Math.abs(i - j),
        maskMod: (_b, _h, i, j) => j <= i,
      }),
      attention(q, k, v, { softcap: 2, alibiSlopes: array([heads], slopes), isCausal: true }),
    );
  });

  test('may distinguish batch entries, and hide a key by −∞', () => {
    const result = attention(q, k, v, {
      scoreMod: (score, b, h, i, j) => (b === 1 && h === 2 && j > i ? -Infinity : score),
    });
    const [plain, causal] = [attention(q, k, v), attention(q, k, v, { isCausal: true })];
    const at = (b: number, h: number) =>
      [b, h].reduce((x: HostArray, index, axis) => slice(x, axis, index, index + 1), result.output);
    const of = ({ output }: AttentionResult, b: number, h: number) => slice(slice(output, 0, b, b + 1), 1, h, h + 1);
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) {
        expectClose(at(b, h).data, of(b === 1 && h === 2 ? causal : plain, b, h).data, rounding, `${b}, ${h}`);
      }
    }
  });
});

describe('scores', () => {
  test('of the three stages', () => {
    const [q, k, v] = operands(17);
    const options = { softcap: 1.5, mask: normals(new Random(18), queries, keys), isCausal: true, keyLengths: [9, 2] };
    const [scaled, capped, masked] = (['scaled', 'capped', 'masked'] as const).map(
      (returnScores) => attention(q, k, v, { ...options, returnScores }).scores!.data,
    );
    const { weights, logSumExp } = attention(q, k, v, options);
    masked.forEach((score, at) => {
      const [j, i, b] = [at % keys, Math.floor(at / keys) % queries, Math.floor(at / (keys * queries * heads))];
      expect(capped[at]).toBeCloseTo(1.5 * Math.tanh(scaled[at] / 1.5), 12);
      expect(score).toBe(
        j <= i && j < options.keyLengths[b] ? capped[at] + options.mask.data[i * keys + j] : -Infinity,
      );
      expect(weights.data[at]).toBeCloseTo(Math.exp(score - logSumExp.data[Math.floor(at / keys)]), 12);
    });
  });
});

describe('mergeAttention', () => {
  test('of parts of the keys is attention over all of them', () => {
    const [q, k, v] = operands(19);
    const sinks = array([heads], [0, 1, -1, 2]);
    const whole = attention(q, k, v, { isCausal: true, sinks });
    for (const cuts of [
      [0, 9],
      [0, 4, 9],
      [0, 1, 2, 9],
      [0, 2, 4, 6, 7, 9],
    ]) {
      const parts = cuts.slice(1).map((end, p) =>
        attention(q, slice(k, 2, cuts[p], end), slice(v, 2, cuts[p], end), {
          isCausal: true,
          queryOffset: -cuts[p],
          sinks: p === 0 ? sinks : undefined,
        }),
      );
      const { output, logSumExp } = mergeAttention(parts);
      expectClose(output.data, whole.output.data, rounding, 'output');
      expectClose(logSumExp.data, whole.logSumExp.data, rounding, 'logSumExp');
    }
  });

  test('does not read the output of a part without keys', () => {
    const part = (output: number, logSumExp: number) => ({
      output: array([1, 1], [output]),
      logSumExp: array([1], [logSumExp]),
    });
    const [a, nothing] = [part(3, 0.5), part(NaN, -Infinity)];
    expect(mergeAttention([nothing, a, nothing])).toEqual(mergeAttention([a]));
    expect(Array.from(mergeAttention([a]).output.data)).toEqual([3]);
    const { output, logSumExp } = mergeAttention([nothing, nothing]);
    expect([output.data[0], logSumExp.data[0]]).toEqual([0, -Infinity]);
  });
});

test('in float16 options are those of the reference', () => {
  const random = new Random(20);
  const [q, k, v] = operands(21);
  const options: AttentionOptions = {
    softcap: 2,
    alibiSlopes: array([heads], [1, 0.5, 0.25, 0]),
    sinks: array([heads], [0, 1, -1, 2]),
    queryOffset: [2, -1],
    keyLengths: [9, 5],
    isCausal: true,
    mask: normals(random, queries, keys),
    scoreMod: (score, b, h) => score + b - h,
  };
  const exact = attention(q, k, v, options);
  const rounded = attentionInFloat16(q, k, v, options);
  const error = expectClose(rounded.output.data, exact.output.data, { atol: 5e-3, rtol: 0 }, 'output');
  expect(error).toBeGreaterThan(1e-5);
  expectClose(rounded.weights.data, exact.weights.data, { atol: 5e-3, rtol: 0 }, 'weights');
});
