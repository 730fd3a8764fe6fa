/** Cases of training: attention, then from a gradient of its output to those of queries, keys and values. */
import type { Tensor } from '../src/index.ts';
import { attend, attentionInputs } from './attention-workload.ts';
import { attentionSizes } from './cost.ts';
import { matrix, rowOf, type Inputs } from './inputs.ts';
import { keyGradientRows, queryGradientRow, queryStatistics, type QueryStatistics } from './reference.ts';
import type { AttentionOpName, BenchCase, TrainingOpName } from './result.ts';
import type { Expected, Workload } from './workload.ts';

const OUTPUTS = ['output', 'query', 'key', 'value'] as const;

/** Rows to check in each sampled head of keys; each takes every query of the head. */
const SAMPLED_KEYS = 8;

export async function prepareTraining(inputs: Inputs, bench: BenchCase, op: TrainingOpName): Promise<Workload> {
  const { heads, kvHeads, queryLength, keyLength, headDim } = attentionSizes(bench);
  const attention = await attentionInputs(inputs, bench);
  const dOutput = await inputs.normal(attention.q.shape);
  const { host, biasOf } = attention;
  const leaves = [attention.q, attention.k, attention.v];
  for (const leaf of leaves) leaf.requiresGrad = true;

  const group = heads / kvHeads;
  const size = { rows: keyLength, width: headDim };
  const queryOf = (row: number) => rowOf(host.q, row, headDim);
  const dOutputOf = (row: number) => rowOf(dOutput.host, row, headDim);
  const keysOf = (row: number) => {
    const kvHead = Math.floor(row / queryLength / group);
    return [matrix(host.k, kvHead, size), matrix(host.v, kvHead, size)] as const;
  };
  const known = new Map<number, QueryStatistics>();
  const statisticsOf = (row: number) => {
    let statistics = known.get(row);
    if (!statistics) {
      statistics = queryStatistics(queryOf(row), dOutputOf(row), ...keysOf(row), biasOf(row));
      known.set(row, statistics);
    }
    return statistics;
  };
  /** The queries that see a key of one of the key heads. */
  function* seenBy(kvHead: number, key: number) {
    const first = kvHead * group * queryLength;
    for (let row = first; row < first + group * queryLength; row++) {
      const bias = biasOf(row)(key);
      if (bias === -Infinity) continue;
      yield { query: queryOf(row), dOutput: dOutputOf(row), bias, statistics: statisticsOf(row) };
    }
  }
  const expected: Record<(typeof OUTPUTS)[number], (row: number) => Expected> = {
    output: (row) => ({ row: attention.expected(row) }),
    query: (row) => queryGradientRow(queryOf(row), dOutputOf(row), ...keysOf(row), biasOf(row)),
    key: (row) => keyRows(row).key,
    value: (row) => keyRows(row).value,
  };
  const keyRows = (row: number) =>
    keyGradientRows(
      rowOf(host.k, row, headDim),
      rowOf(host.v, row, headDim),
      seenBy(Math.floor(row / keyLength), row % keyLength),
    );
  const forward = op.slice(0, op.indexOf('.')) as AttentionOpName;
  return {
    run: () => inputs.device.scope(() => withGradients(attend(forward, attention), dOutput.tensor, leaves)),
    expected: (row, output) => expected[OUTPUTS[output]](row),
    sampled(rows, output) {
      const isOfKeys = OUTPUTS[output] === 'key' || OUTPUTS[output] === 'value';
      return isOfKeys ? [...new Set([...spread(0, keyLength), ...spread(rows - keyLength, rows)])] : undefined;
    },
    dispose: () => inputs.dispose(),
  };
}

/** Returns the output and the leaves' gradients, and takes the gradients off the leaves. */
function withGradients(output: Tensor, dOutput: Tensor, leaves: readonly Tensor[]): Tensor[] {
  output.backward(dOutput);
  const gradients = leaves.map((leaf) => {
    const gradient = leaf.grad!.detach();
    leaf.grad = undefined;
    return gradient;
  });
  return [output.detach(), ...gradients];
}

/** The first and the last of the rows from `start` to `end`, and some between. */
function spread(start: number, end: number): number[] {
  const samples = Math.min(end - start, SAMPLED_KEYS);
  return Array.from({ length: samples }, (_, i) =>
    samples === 1 ? start : start + Math.floor((i * (end - start - 1)) / (samples - 1)),
  );
}
