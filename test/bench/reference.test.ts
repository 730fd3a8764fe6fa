import { describe, expect, test } from 'vitest';
import {
  attentionRow,
  keyGradientRows,
  matmulRow,
  projectedAttentionRow,
  queryGradientRow,
  queryStatistics,
  softmaxRow,
  type Bias,
  type Matrix,
} from '../../bench/reference.ts';
import { Random } from '../random.ts';
import { attention } from '../reference/attention.ts';
import { attentionGradient } from '../reference/attention-gradient.ts';
import { matmul } from '../reference/matmul.ts';
import { multiHeadAttention } from '../reference/multi-head-attention.ts';

const random = new Random(5);
const array = (...shape: number[]) => ({ shape, data: random.normals(shape) });
const matrixOf = ({ data, shape }: ReturnType<typeof array>, index = 0): Matrix => {
  const [rows, width] = shape.slice(-2);
  return { data, start: index * rows * width, rows, width };
};

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  expect(actual.length).toBe(expected.length);
  for (let i = 0; i < actual.length; i++) expect(actual[i]).toBeCloseTo(expected[i], 12);
}

test('matmulRow', () => {
  const [a, b] = [array(2, 3, 5), array(2, 5, 4)];
  const { data } = matmul(a, b);
  const row = matmulRow(a.data.subarray(4 * 5, 5 * 5), matrixOf(b, 1)); // row 1 of the second matrix
  expectClose(row, data.subarray(4 * 4, 5 * 4));
});

describe('softmaxRow', () => {
  test('is exponentials over their sum', () => {
    const row = [1, -2, 0.5];
    const sum = row.reduce((total, x) => total + Math.exp(x), 0);
    expectClose(
      softmaxRow(row, () => 0),
      row.map((x) => Math.exp(x) / sum),
    );
  });

  test('takes large numbers', () => {
    expectClose(
      softmaxRow([1e4, 1e4 - 1, -1e4], () => 0),
      [1 / (1 + Math.exp(-1)), 1 / (1 + Math.E), 0],
    );
  });

  test('leaves a sink its weight', () => {
    const sum = Math.exp(1) + Math.exp(-1) + Math.exp(3);
    expectClose(
      softmaxRow([1, -1], () => 0, 3),
      [Math.exp(1) / sum, Math.exp(-1) / sum],
    );
    expectClose(
      softmaxRow([1, -1], () => -Infinity, 3),
      [0, 0],
    );
  });

  test('gives nothing to what is hidden, and zeros where everything is', () => {
    expectClose(
      softmaxRow([5, 1, 1], (key) => (key === 0 ? -Infinity : 0)),
      [0, 0.5, 0.5],
    );
    expectClose(
      softmaxRow([5, 1], () => -Infinity),
      [0, 0],
    );
  });
});

const upTo =
  (last: number): Bias =>
  (key) =>
    key <= last ? 0 : -Infinity;

test('attentionRow is a row of attention', () => {
  const [q, k, v] = [array(1, 2, 5, 4), array(1, 2, 7, 4), array(1, 2, 7, 4)];
  const { output } = attention(q, k, v, { isCausal: true });
  for (const row of [0, 4, 5, 8]) {
    const head = Math.floor(row / 5);
    const query = q.data.subarray(row * 4, (row + 1) * 4);
    const actual = attentionRow(query, matrixOf(k, head), matrixOf(v, head), upTo(row % 5));
    expectClose(actual, output.data.subarray(row * 4, (row + 1) * 4));
  }
});

test('attentionRow caps scores before the bias, and has a sink', () => {
  const [q, k, v] = [array(1, 2, 5, 4), array(1, 2, 7, 4), array(1, 2, 7, 4)];
  const [alibiSlopes, sinks] = [array(2), array(2)];
  const { output } = attention(q, k, v, { softcap: 0.5, alibiSlopes, sinks });
  for (const row of [0, 4, 5, 8]) {
    const [head, position] = [Math.floor(row / 5), row % 5];
    const query = q.data.subarray(row * 4, (row + 1) * 4);
    const bias: Bias = (key) => -alibiSlopes.data[head] * Math.abs(position - key);
    const rest = { softcap: 0.5, sink: sinks.data[head] };
    const actual = attentionRow(query, matrixOf(k, head), matrixOf(v, head), bias, rest);
    expectClose(actual, output.data.subarray(row * 4, (row + 1) * 4));
  }
});

describe('gradients of attention', () => {
  const [q, k, v, output] = [array(1, 4, 5, 4), array(1, 2, 7, 4), array(1, 2, 7, 4), array(1, 4, 5, 4)];
  const gradient = attentionGradient(q, k, v, { output }, { isCausal: 'bottom-right' });
  const rowOf = ({ data }: ReturnType<typeof array>, row: number) => data.subarray(row * 4, row * 4 + 4);
  const biasOf = (row: number) => upTo(2 + (row % 5));
  const keysOf = (row: number) => [matrixOf(k, Math.floor(row / 10)), matrixOf(v, Math.floor(row / 10))] as const;

  test('of a query', () => {
    for (let row = 0; row < 20; row++) {
      const { row: dq, size } = queryGradientRow(rowOf(q, row), rowOf(output, row), ...keysOf(row), biasOf(row));
      expectClose(dq, gradient.q.data.subarray(row * 4, row * 4 + 4));
      // Cauchy and Schwarz, of at most 7 terms
      expect(Math.max(...dq.map(Math.abs))).toBeLessThanOrEqual(Math.sqrt(7) * size);
    }
  });

  test('of a query of one key are 0, but their terms are not', () => {
    const { row, size } = queryGradientRow(rowOf(q, 0), rowOf(output, 0), ...keysOf(0), upTo(0));
    expectClose(row, [0, 0, 0, 0]);
    expect(size).toBeGreaterThan(0.01);
  });

  test('of a key and its value, by all queries of the heads that share them', () => {
    for (let at = 0; at < 14; at++) {
      const rows = Array.from({ length: 10 }, (_, i) => Math.floor(at / 7) * 10 + i);
      const seenBy = rows
        .filter((row) => biasOf(row)(at % 7) === 0)
        .map((row) => ({
          query: rowOf(q, row),
          dOutput: rowOf(output, row),
          bias: 0,
          statistics: queryStatistics(rowOf(q, row), rowOf(output, row), ...keysOf(row), biasOf(row)),
        }));
      const { key, value } = keyGradientRows(rowOf(k, at), rowOf(v, at), seenBy);
      expectClose(key.row, gradient.k.data.subarray(at * 4, at * 4 + 4));
      expectClose(value.row, gradient.v.data.subarray(at * 4, at * 4 + 4));
    }
  });
});

describe('projectedAttentionRow', () => {
  const [x, key, value] = [array(1, 5, 6), array(1, 4, 6), array(1, 4, 6)];
  const [inWeight, inBias, outWeight, outBias] = [array(18, 6), array(18), array(6, 6), array(6)];
  const projections = {
    inWeight: inWeight.data,
    inBias: inBias.data,
    outWeight: outWeight.data,
    outBias: outBias.data,
  };
  const state = {
    in_proj_weight: inWeight,
    in_proj_bias: inBias,
    'out_proj.weight': outWeight,
    'out_proj.bias': outBias,
  };
  const rowOf = (row: number, bias: Bias) =>
    projectedAttentionRow(x.data.subarray(row * 6, row * 6 + 6), matrixOf(key), matrixOf(value), projections, 2, bias);

  test('is a row of multi-head attention', () => {
    const { output } = multiHeadAttention(state, x, key, value, { numHeads: 2, isCausal: true });
    for (let row = 0; row < 5; row++) expectClose(rowOf(row, upTo(row)), output.data.subarray(row * 6, row * 6 + 6));
  });

  test('without any key is the bias of the output', () => {
    expectClose(
      rowOf(0, () => -Infinity),
      outBias.data,
    );
  });
});
