/** Packed sequences of different lengths, each to itself. */
import { describe, expect, test } from 'vitest';
import { narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { expectClose } from '../../reference/compare.ts';
import { type HostArray, slice } from '../../reference/host-array.ts';
import { tolerances } from '../../reference/tolerances.ts';
import { ATTENTION_OPS, type AttentionOp, expectEveryOp, type Problem, runAttention } from './attention-run.ts';
import { map, randomOperands } from './attention-suite.ts';
import type { Float } from '../upload.ts';

const DTYPES: readonly Float[] = ['float32', 'float16'];

/** The queries and keys of each sequence. */
const PACKS: Readonly<Record<string, readonly (readonly [queries: number, keys: number])[]>> = {
  'one sequence': [[35, 41]],
  'ragged ones': [
    [5, 9],
    [33, 31],
    [1, 70],
    [40, 40],
  ],
  'of length 1': [
    [1, 1],
    [1, 1],
    [1, 1],
  ],
  'some without queries or keys': [
    [0, 5],
    [7, 9],
    [6, 0],
    [3, 0],
    [0, 0],
    [9, 4],
  ],
  'one query each, as in decoding': [
    [1, 300],
    [1, 7],
    [1, 0],
    [1, 64],
    [1, 129],
  ],
};

const cumulative = (lengths: readonly number[]) =>
  lengths.reduce((sums, length) => [...sums, sums.at(-1)! + length], [0]);

function pack(seed: number, lengths: readonly (readonly [number, number])[], sizes = {}) {
  const queryOffsets = cumulative(lengths.map(([queries]) => queries));
  const keyOffsets = cumulative(lengths.map(([, keys]) => keys));
  const [queries, keys] = [queryOffsets.at(-1)!, keyOffsets.at(-1)!];
  const given = { batch: 1, heads: 4, kvHeads: 2, queries, keys, ...sizes };
  return { ...randomOperands(new Random(seed), given), queryOffsets, keyOffsets };
}

describe.each(DTYPES)('%s', (dtype) => {
  // what a pack looks like changes nothing in how elements are stored
  const packs = Object.entries(PACKS);
  test.each(narrow(dtype === 'float32' ? packs : packs.slice(1, 2), packs))('%s', async (_name, lengths) => {
    const random = new Random(1);
    const problem = pack(1, lengths);
    const longest = Math.max(...lengths.map(([, keys]) => keys));
    const options: Partial<Problem>[] = [
      {},
      { isCausal: true },
      { isCausal: 'bottom-right' },
      { window: { left: 4, right: 2 } },
      { window: { left: 20, right: 0, align: 'bottom-right' } },
      { softcap: 1.5, sinks: { shape: [4], data: random.normals([4]) } },
      { alibiSlopes: { shape: [4], data: Float32Array.of(0.5, 0.25, 0.125, 1) }, isCausal: 'bottom-right' },
      { alibiSlopes: { shape: [lengths.length, 4], data: random.normals([lengths.length, 4], 0.1) } },
      { queryOffset: 3, isCausal: true },
      { queryOffset: lengths.map((_, s) => 4 * s - 6), isCausal: true, window: { left: 9, right: -1 } },
      { keyLengths: lengths.map(([, keys], s) => (s % 2 === 0 ? keys >> 1 : longest)), isCausal: 'bottom-right' },
    ];
    // nor do the options
    const chosen = dtype === 'float32' ? options : options.slice(1, 2);
    for (const more of narrow(chosen, options)) await expectEveryOp({ ...problem, ...more }, dtype, { isFar: true });
  });

  const dims = [
    { dim: 33, valueDim: 7 },
    { dim: 64, heads: 8, kvHeads: 1 },
  ];
  test.each(narrow(dtype === 'float32' ? dims.slice(1) : [], dims))('head dim $dim', async (sizes) => {
    await expectEveryOp({ ...pack(2, PACKS['ragged ones'], sizes), isCausal: 'bottom-right' }, dtype);
  });

  test.each(narrow(dtype === 'float32' ? ATTENTION_OPS : [], ATTENTION_OPS))(
    'are calls of %s for each sequence',
    (op) => expectSeparateCalls(op, dtype),
  );

  test.each(ATTENTION_OPS)('a sequence of NaN spoils no other in %s', async (op) => {
    const problem = pack(4, PACKS['ragged ones']);
    const [start, end] = [problem.keyOffsets[1], problem.keyOffsets[2]];
    const poison = (x: HostArray) =>
      map(x, (kept, at) => {
        const key = Math.floor(at / 8) % x.shape[2];
        return key >= start && key < end ? NaN : kept;
      });
    const clean = await runAttention(op, problem, dtype);
    const { output } = await runAttention(op, { ...problem, k: poison(problem.k), v: poison(problem.v) }, dtype);
    const rows = problem.q.shape[2];
    output.forEach((value, at) => {
      const row = Math.floor(at / 8) % rows;
      const isSpoilt = row >= problem.queryOffsets[1] && row < problem.queryOffsets[2];
      if (isSpoilt) expect(value).toBeNaN();
      else expect(Math.abs(value - clean.output[at])).toBeLessThan(1e-5);
    });
  });
});

async function expectSeparateCalls(op: AttentionOp, dtype: Float): Promise<void> {
  const { queryOffsets, keyOffsets, q, k, v } = pack(3, PACKS['ragged ones']);
  const options = { isCausal: 'bottom-right' as const, softcap: 2 };
  const whole = await runAttention(op, { q, k, v, queryOffsets, keyOffsets, ...options }, dtype);
  const wholeOutput = { shape: q.shape, data: whole.output };
  const wholeLogSumExp = { shape: q.shape.slice(0, 3), data: whole.logSumExp };
  for (let s = 0; s + 1 < queryOffsets.length; s++) {
    const rows = (x: HostArray, offsets: readonly number[]) => slice(x, 2, offsets[s], offsets[s + 1]);
    const alone = { q: rows(q, queryOffsets), k: rows(k, keyOffsets), v: rows(v, keyOffsets), ...options };
    const { output, logSumExp } = await runAttention(op, alone, dtype);
    expectClose(rows(wholeOutput, queryOffsets).data, output, tolerances[dtype].attention, `output ${s}`);
    expectClose(rows(wholeLogSumExp, queryOffsets).data, logSumExp, tolerances[dtype].logSumExp, `logSumExp ${s}`);
  }
}
