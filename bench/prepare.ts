/** Turns a case into the workload of its op. */
import {
  CrossAttention,
  LocalAttention,
  matmul,
  MultiHeadAttention,
  noGrad,
  SelfAttention,
  softmax,
} from '../src/index.ts';
import type { Device } from '../src/index.ts';
import { prepareAttention, prepareMerge } from './attention-workload.ts';
import { prepareAppend, prepareAttend } from './cache-workload.ts';
import { attentionSizes } from './cost.ts';
import { Inputs, matrix, rowOf, visibility } from './inputs.ts';
import { matmulRow, projectedAttentionRow, softmaxRow } from './reference.ts';
import type { BenchCase } from './result.ts';
import { prepareTraining } from './training-workload.ts';
import type { Workload } from './workload.ts';

/** Fills the inputs with standard normal numbers, the same ones each time for one case. */
export async function prepare(device: Device, bench: BenchCase): Promise<Workload> {
  const inputs = new Inputs(device, bench);
  try {
    switch (bench.op) {
      case 'matmul':
        return await prepareMatmul(inputs, bench);
      case 'softmax':
        return await prepareSoftmax(inputs, bench);
      case 'scaledDotProductAttention':
      case 'flashAttention':
      case 'localAttention':
        return await prepareAttention(inputs, bench, bench.op);
      case 'scaledDotProductAttention.train':
      case 'flashAttention.train':
      case 'localAttention.train':
        return await prepareTraining(inputs, bench, bench.op);
      case 'mergeAttention':
        return await prepareMerge(inputs, bench);
      case 'KeyValueCache.attend':
      case 'PagedKeyValueCache.attend':
        return await prepareAttend(inputs, bench);
      case 'KeyValueCache.append':
      case 'PagedKeyValueCache.append':
        return await prepareAppend(inputs, bench);
      case 'SelfAttention':
      case 'MultiHeadAttention':
      case 'CrossAttention':
      case 'LocalAttention':
        return await prepareModule(inputs, device, bench, bench.op);
    }
  } catch (error) {
    inputs.dispose();
    throw error;
  }
}

async function prepareMatmul(inputs: Inputs, { shape }: BenchCase): Promise<Workload> {
  const [batch, rows, columns, depth] = shape;
  const a = await inputs.normal([batch, rows, depth]);
  const b = await inputs.normal([batch, depth, columns]);
  return {
    run: () => [matmul(a.tensor, b.tensor)],
    expected: (row) => ({
      row: matmulRow(
        rowOf(a.host, row, depth),
        matrix(b.host, Math.floor(row / rows), { rows: depth, width: columns }),
      ),
    }),
    dispose: () => inputs.dispose(),
  };
}

async function prepareSoftmax(inputs: Inputs, { shape, causal }: BenchCase): Promise<Workload> {
  const [, , queries, keys] = shape;
  const x = await inputs.normal(shape);
  return {
    run: () => [softmax(x.tensor, { isCausal: causal })],
    expected: (row) => ({
      row: softmaxRow(rowOf(x.host, row, keys), (key) => (causal && key > row % queries ? -Infinity : 0)),
    }),
    dispose: () => inputs.dispose(),
  };
}

async function prepareModule(
  inputs: Inputs,
  device: Device,
  bench: BenchCase,
  op: 'SelfAttention' | 'MultiHeadAttention' | 'CrossAttention' | 'LocalAttention',
): Promise<Workload> {
  const { batch, heads, queryLength, keyLength, headDim } = attentionSizes(bench);
  const width = heads * headDim;
  const projection = { embedDim: width, numHeads: heads, dtype: bench.dtype, seed: 0 };
  const x = await inputs.normal([batch, queryLength, width]);
  const isSelf = op === 'SelfAttention' || op === 'LocalAttention';
  const key = isSelf ? x : await inputs.normal([batch, keyLength, width]);
  const value = op === 'MultiHeadAttention' ? await inputs.normal([batch, keyLength, width]) : key;
  const { options, biasOf } = await visibility(inputs, bench);
  const build = () => {
    switch (op) {
      case 'SelfAttention': {
        const module = inputs.own(new SelfAttention(device, projection));
        return { module, run: () => module.forward(x.tensor, options) };
      }
      case 'MultiHeadAttention': {
        const module = inputs.own(new MultiHeadAttention(device, projection));
        return { module, run: () => module.forward(x.tensor, key.tensor, value.tensor, options) };
      }
      case 'CrossAttention': {
        const module = inputs.own(new CrossAttention(device, projection));
        return { module, run: () => module.forward(x.tensor, key.tensor, options) };
      }
      case 'LocalAttention': {
        const module = inputs.own(new LocalAttention(device, { ...projection, windowSize: 2 * (bench.window ?? 0) }));
        return { module, run: () => module.forward(x.tensor, options) };
      }
    }
  };
  const { module, run } = build();
  const state = module.stateDict();
  const projections = {
    inWeight: await state['in_proj_weight'].data(),
    inBias: await state['in_proj_bias'].data(),
    outWeight: await state['out_proj.weight'].data(),
    outBias: await state['out_proj.bias'].data(),
  };
  return {
    run: () => [noGrad(() => run().output)],
    expected(row) {
      const entry = Math.floor(row / queryLength);
      const size = { rows: keyLength, width };
      const [keys, values] = [matrix(key.host, entry, size), matrix(value.host, entry, size)];
      const bias = biasOf(entry, row % queryLength);
      return { row: projectedAttentionRow(rowOf(x.host, row, width), keys, values, projections, heads, bias) };
    },
    dispose: () => inputs.dispose(),
  };
}
