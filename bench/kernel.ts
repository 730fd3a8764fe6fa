import type { Device } from '../src/index.ts';
import { chooseAttention } from '../src/kernels/fused-attention.ts';
import { chooseMatmul } from '../src/kernels/matmul.ts';
import { attentionSizes } from './cost.ts';
import type { BenchCase } from './result.ts';

/**
 * The kernel family and tile that the device runs a case with, of a module that of its attention; undefined where there
 * is one only, or several run in turn.
 */
export function kernelOf({ traits, kernels }: Device, bench: BenchCase): string | undefined {
  const { op, shape, dtype } = bench;
  if (op === 'softmax' || op === 'scaledDotProductAttention') return undefined;
  if (op === 'matmul') {
    const [batch, rows, columns] = shape;
    return chooseMatmul({ batchShape: [batch], rows, columns, aDType: dtype }, traits, kernels).variant.name;
  }
  const { headDim } = attentionSizes(bench);
  const attention = bench.window === undefined ? 'flashAttention' : 'localAttention';
  const size = { op: attention, dtype, headDim, valueDim: headDim };
  return chooseAttention(size, traits, kernels).variant.name;
}
