import { describe, expect, test } from 'vitest';
import { scaledDotProductAttention, scoreMod } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { Random } from '../../random.ts';
import type { OutputGradients } from '../../reference/attention-gradient.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { expectGradients, runGradients } from './attention-backward-run.ts';
import type { Problem } from './attention-run.ts';
import { boolMask, floatMask, map, randomOperands } from './attention-suite.ts';
import type { Float } from '../upload.ts';

const OP = 'scaledDotProductAttention';
const random = new Random(47);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

/** Normal gradients of all results. */
function gradientsFor({ q, k, v }: Problem): Required<OutputGradients> {
  const rows = q.shape.slice(0, -1);
  return {
    output: normals(...rows, v.shape.at(-1)!),
    logSumExp: normals(...rows),
    weights: normals(...rows, k.shape.at(-2)!),
  };
}

const check = (problem: Problem, dtype: Float = 'float32', gradients: OutputGradients = gradientsFor(problem)) =>
  expectGradients(OP, problem, gradients, dtype);

describe.each(['float32', 'float16'] as const)('the gradient of scaledDotProductAttention in %s', (dtype) => {
  test('ragged lengths, one row, one key', async () => {
    for (const sizes of [{ queries: 17, keys: 21, dim: 7, valueDim: 5 }, { queries: 1 }, { keys: 1 }, { dim: 1 }]) {
      await check(randomOperands(random, sizes), dtype);
    }
  });

  test('grouped-query heads, and heads inside rows', async () => {
    const operands = randomOperands(random, { heads: 6, kvHeads: 2, queries: 5, keys: 9, valueDim: 5 });
    const inRows = { axes: [0, 2, 1, 3] };
    await check(operands, dtype);
    await check({ ...operands, isCausal: true, layouts: { q: inRows, k: inRows, v: inRows } }, dtype);
  });

  test('3-D tensors', async () => {
    const operands = { q: normals(2, 5, 6), k: normals(2, 7, 6), v: normals(2, 7, 4) };
    await check({ ...operands, mask: floatMask(random, [2, 5, 7]) }, dtype);
    await check({ ...operands, keyMask: boolMask(random, [2, 7]), sinks: normals(1), asTensors: true }, dtype);
  });

  test('of each result alone', async () => {
    const problem = randomOperands(random, { queries: 6, keys: 7 });
    const { output, logSumExp, weights } = gradientsFor(problem);
    for (const gradients of [{ output }, { logSumExp }, { weights }]) await check(problem, dtype, gradients);
  });

  test('float masks, softcap, ALiBi, sinks and key lengths', async () => {
    const operands = randomOperands(random, { queries: 9, keys: 11 });
    for (const shape of [[11], [9, 1], [2, 1, 9, 11], [1, 2, 1, 11]]) {
      await check({ ...operands, mask: floatMask(random, shape), isCausal: true }, dtype);
    }
    await check({ ...operands, softcap: 1.5, alibiSlopes: map(normals(2), Math.abs) }, dtype);
    await check({ ...operands, sinks: normals(2), asTensors: true, mask: boolMask(random, [2, 2, 9, 11]) }, dtype);
    await check({ ...operands, keyLengths: [0, 8], isCausal: 'bottom-right', window: { left: 3, right: 0 } }, dtype);
  });
});

describe('the gradient of scaledDotProductAttention', () => {
  test.each([0.3, 1])('with dropout of %f', async (dropoutP) => {
    const operands = randomOperands(random, { kvHeads: 1, queries: 9, keys: 13 });
    const problem = { ...operands, dropoutP, dropoutSeed: 2 ** 40 + 7, mask: floatMask(random, [9, 13]) };
    await check({ ...problem, sinks: normals(2), asTensors: true });
  });

  test('of packed sequences that begin anywhere, with dropout', async () => {
    const problem = {
      q: normals(1, 2, 15, 6),
      k: normals(1, 2, 13, 6),
      v: normals(1, 2, 13, 6),
      queryOffsets: [0, 5, 5, 15],
      keyOffsets: [0, 6, 9, 13],
      isCausal: 'bottom-right' as const,
    };
    const { weights: _, ...gradients } = gradientsFor(problem);
    await check(problem, 'float32', gradients);
    await check({ ...problem, dropoutP: 0.4, dropoutSeed: 3 }, 'float32', gradients);
  });

  const parameters = '(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32';
  const source = `fn score_mod${parameters} { return 0.25 * score * score * f32(head + 1u) - f32(query + key); }`;

  test('a scoreMod with its derivative, and one without', async () => {
    const derivative = `fn score_mod_derivative${parameters} { return 0.5 * score * f32(head + 1u); }`;
    const problem = randomOperands(random, { queries: 5, keys: 6 });
    await check({
      ...problem,
      softcap: 2,
      scoreMod: (score, _batch, head, query, key) => 0.25 * score * score * (head + 1) - query - key,
      scoreModDerivative: (score, _batch, head) => 0.5 * score * (head + 1),
      modifiers: () => ({ scoreMod: scoreMod(source, { derivative }) }),
    });
    const run = runGradients(
      OP,
      { ...problem, modifiers: () => ({ scoreMod: scoreMod(source) }) },
      gradientsFor(problem),
      'float32',
    );
    await expect(run).rejects.toThrow('scaledDotProductAttention: scoreMod must come with its derivative');
  });

  test.each([NaN, Infinity])('%f in a hidden key, its value, or a row without keys never leaks', async (value) => {
    const [queries, keys, hidden] = [6, 7, 4];
    const operands = randomOperands(random, { queries, keys });
    const poison = (array: HostArray, rows: number, row: number) =>
      map(array, (x, at) => (Math.floor(at / array.shape.at(-1)!) % rows === row ? value : x));
    const mask = {
      shape: [queries, keys],
      data: Uint8Array.from({ length: queries * keys }, (_, at) =>
        at % keys === hidden || Math.floor(at / keys) === 2 ? 0 : 1,
      ),
    };
    const clean = { ...operands, mask };
    const gradients = gradientsFor(clean);
    const wanted = await check(clean, 'float32', gradients);
    const spoilt = {
      ...clean,
      q: poison(operands.q, queries, 2),
      k: poison(operands.k, keys, hidden),
      v: poison(operands.v, keys, hidden),
    };
    const ofEmptyRow = {
      output: poison(gradients.output, queries, 2),
      logSumExp: poison({ ...gradients.logSumExp, shape: [2, 2, queries, 1] }, queries, 2),
      weights: map(gradients.weights, (x, at) => (mask.data[at % (queries * keys)] ? x : value)),
    };
    ofEmptyRow.logSumExp = { ...ofEmptyRow.logSumExp, shape: gradients.logSumExp.shape };
    expect(await runGradients(OP, spoilt, ofEmptyRow, 'float32')).toEqual(wanted);
  });

  test('logits of ±1e4', async () => {
    const operands = randomOperands(random, { batch: 1, heads: 1, queries: 5, keys: 40, dim: 2, valueDim: 5 });
    for (const outlier of [1e4, -1e4]) {
      await check({
        q: map(operands.q, (x, i) => (i % 2 ? x : 100)),
        k: map(operands.k, (x, i) => (i % 2 ? x : i === 74 ? outlier / 100 : 0)),
        v: operands.v,
        scale: 1,
      });
    }
  });

  test('is the same bits each time', async () => {
    const problem = randomOperands(random, { heads: 4, kvHeads: 2, queries: 33, keys: 35 });
    const gradients = gradientsFor(problem);
    const first = await runGradients(OP, problem, gradients, 'float32');
    for (let i = 0; i < 2; i++) expect(await runGradients(OP, problem, gradients, 'float32')).toEqual(first);
  });

  test('of some operands alone is what it is of all', async () => {
    const device = await testDevice();
    const { live } = device.memory();
    const grads = device.scope(() => {
      const [q, k, v] = [1, 2, 3].map((seed) => device.randn([1, 2, 5, 6], { seed }));
      const gradient = device.randn([1, 2, 5, 6], { seed: 4 });
      return [[q, k, v], [q], [k], [v]].map((leaves) => {
        for (const tensor of [q, k, v]) tensor.requiresGrad = leaves.includes(tensor);
        scaledDotProductAttention(q, k, v).output.backward(gradient);
        const found = [q, k, v].map((tensor) => tensor.grad?.reshape([60]).detach());
        for (const tensor of [q, k, v]) tensor.requiresGrad = false;
        return found;
      });
    });
    const values = await Promise.all(grads.map((row) => Promise.all(row.map(async (tensor) => tensor?.data()))));
    for (const row of grads) for (const tensor of row) tensor?.dispose();
    const [q, k, v] = values[0];
    expect(values.slice(1)).toEqual([
      [q, undefined, undefined],
      [undefined, k, undefined],
      [undefined, undefined, v],
    ]);
    expect(device.memory().live).toBe(live);
  });

  test('returned scores have none, but do not stand in the way of the others', async () => {
    const device = await testDevice();
    device.scope(() => {
      const q = device.randn([1, 3, 4]);
      q.requiresGrad = true;
      const { output, scores } = scaledDotProductAttention(q, q, q, { returnScores: 'masked' });
      expect(() => scores!.backward(device.zeros([1, 3, 3]))).toThrow(
        'scaledDotProductAttention: the loss must not depend on returned scores, which have no gradient, got one that does',
      );
      output.backward(device.zeros([1, 3, 4]));
      expect(q.grad!.shape).toEqual([1, 3, 4]);
    });
  });

  test('slopes that require a gradient are refused', async () => {
    const device = await testDevice();
    device.scope(() => {
      const q = device.randn([1, 2, 3, 4]);
      const alibiSlopes = device.randn([2]);
      q.requiresGrad = true;
      alibiSlopes.requiresGrad = true;
      const { output } = scaledDotProductAttention(q, q, q, { alibiSlopes });
      expect(() => output.backward(device.zeros([1, 2, 3, 4]))).toThrow('alibiSlopes must not require a gradient');
      expect(q.grad).toBeUndefined();
    });
  });
});
