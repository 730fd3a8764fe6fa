import { describe, expect, test } from 'vitest';
import {
  attentionRow,
  matmulRow,
  projectedAttentionRow,
  softmaxRow,
  type Bias,
  type Matrix,
} from '../../bench/reference.ts';
import { Random } from '../random.ts';
import { attention } from '../reference/attention.ts';
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

  test('leaves a sink its share', () => {
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
