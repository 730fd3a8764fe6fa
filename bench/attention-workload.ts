/** Cases of the attention ops. */
import { flashAttention, localAttention, mergeAttention, scaledDotProductAttention } from '../src/index.ts';
import type { AttentionOptions, Tensor, TensorData } from '../src/index.ts';
import { attentionSizes } from './cost.ts';
import { matrix, rowOf, visibility, type Inputs } from './inputs.ts';
import { attentionRow, matmulRow, softmaxRow, type Bias } from './reference.ts';
import type { AttentionOpName, BenchCase } from './result.ts';
import { scores } from './scores.ts';
import type { Workload } from './workload.ts';

/** The operands and options of an attention case, and the expected rows of its output. */
export interface AttentionInputs {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly options: AttentionOptions;
  readonly expected: (row: number) => Float64Array;
  /** The same operands for the reference. */
  readonly host: Readonly<Record<'q' | 'k' | 'v', TensorData>>;
  /** The bias on the scores of a query, given its row of q. */
  readonly biasOf: (row: number) => Bias;
}

export async function attentionInputs(inputs: Inputs, bench: BenchCase): Promise<AttentionInputs> {
  const { batch, heads, kvHeads, queryLength, keyLength, headDim } = attentionSizes(bench);
  const q = await inputs.normal([batch, heads, queryLength, headDim]);
  const k = await inputs.normal([batch, kvHeads, keyLength, headDim]);
  const v = await inputs.normal([batch, kvHeads, keyLength, headDim]);
  const visible = await visibility(inputs, bench);
  const modified = await scores(inputs, bench);
  const placeOf = (row: number) => {
    const query = row % queryLength;
    const head = Math.floor(row / queryLength) % heads;
    const entry = Math.floor(row / (queryLength * heads));
    return { query, head, entry, kvHead: entry * kvHeads + Math.floor(head / (heads / kvHeads)) };
  };
  const biasOf = (row: number): Bias => {
    const { query, head, entry } = placeOf(row);
    const { slope } = modified.of(head);
    const bias = visible.biasOf(entry, query);
    return (key) => bias(key) - slope * Math.abs(query - key);
  };
  return {
    q: q.tensor,
    k: k.tensor,
    v: v.tensor,
    host: { q: q.host, k: k.host, v: v.host },
    options: { ...visible.options, ...modified.options },
    biasOf,
    expected(row) {
      const { head, kvHead } = placeOf(row);
      const size = { rows: keyLength, width: headDim };
      const { softcap, sink } = modified.of(head);
      return attentionRow(
        rowOf(q.host, row, headDim),
        matrix(k.host, kvHead, size),
        matrix(v.host, kvHead, size),
        biasOf(row),
        { softcap, sink },
      );
    },
  };
}

export async function prepareAttention(inputs: Inputs, bench: BenchCase, op: AttentionOpName): Promise<Workload> {
  const attention = await attentionInputs(inputs, bench);
  return {
    run: () => [attend(op, attention)],
    expected: (row) => ({ row: attention.expected(row) }),
    dispose: () => inputs.dispose(),
  };
}

export function attend(op: AttentionOpName, { q, k, v, options }: AttentionInputs): Tensor {
  switch (op) {
    case 'scaledDotProductAttention':
      return scaledDotProductAttention(q, k, v, options).output;
    case 'flashAttention':
      return flashAttention(q, k, v, options).output;
    case 'localAttention':
      return localAttention(q, k, v, { ...options, window: options.window! }).output;
  }
}

export async function prepareMerge(inputs: Inputs, bench: BenchCase): Promise<Workload> {
  const { shape, parts: count = 1 } = bench;
  const width = shape.at(-1)!;
  const normals: { tensor: Tensor; host: TensorData }[][] = [];
  for (let part = 0; part < count; part++) {
    normals.push([await inputs.normal(shape), await inputs.normal(shape.slice(0, -1), 'float32')]);
  }
  const parts = normals.map(([output, logSumExp]) => ({ output: output.tensor, logSumExp: logSumExp.tensor }));
  return {
    run() {
      const { output, logSumExp } = mergeAttention(parts);
      logSumExp.dispose();
      return [output];
    },
    expected(row) {
      const rows = Float64Array.from(normals.flatMap(([output]) => Array.from(rowOf(output.host, row, width))));
      const logSumExps = normals.map(([, logSumExp]) => logSumExp.host[row]);
      const shares = softmaxRow(logSumExps, () => 0);
      return { row: matmulRow(shares, { data: rows, start: 0, rows: count, width }) };
    },
    dispose: () => inputs.dispose(),
  };
}
