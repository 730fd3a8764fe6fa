import type { Device } from '../src/index.ts';
import type { Choice, Variant } from '../src/kernels/choice.ts';
import { chooseAttention, type AttentionSize } from '../src/kernels/attention.ts';
import { chooseMatmul } from '../src/kernels/matmul.ts';
import { attentionSizes, isAppend } from './cost.ts';
import type { BenchCase } from './result.ts';

/** The default of `createBlockMask`. */
const BLOCK_SIZE = 128;

/**
 * The kernel family and tile with which the device runs a case: for a module that of its attention, for training that of
 * the forward pass. Undefined if there is only one, or if several run in turn.
 */
export function kernelOf(device: Device, bench: BenchCase): string | undefined {
  return kernelChoiceOf(device, bench)?.variant.name;
}

/** The same, with the reason why it was taken. */
export function kernelChoiceOf({ traits, kernels }: Device, bench: BenchCase): Choice<Variant> | undefined {
  const { op, shape, dtype } = bench;
  if (op === 'softmax' || op.startsWith('scaledDotProductAttention') || op === 'mergeAttention' || isAppend(op))
    return undefined;
  if (op === 'matmul') {
    const [batch, rows, columns] = shape;
    return chooseMatmul({ batchShape: [batch], rows, columns, aDType: dtype }, traits, kernels);
  }
  const { headDim, queryLength, heads, kvHeads } = attentionSizes(bench);
  const isBlocked = bench.via === 'block-mask';
  const hasOwn = [bench.softcap, bench.alibi, bench.sinks, bench.keyLengths, bench.via].some(
    (own) => own !== undefined,
  );
  const size: AttentionSize = {
    kernelsOf: /^localAttention/i.test(op) ? 'localAttention' : 'flashAttention',
    dtype,
    headDim,
    valueDim: headDim,
    rows: isBlocked ? queryLength : (queryLength * heads) / kvHeads,
    isPlain: !hasOwn && !op.startsWith('Paged'),
    ...(isBlocked && { maskBlock: BLOCK_SIZE }),
  };
  return chooseAttention(size, traits, kernels);
}
