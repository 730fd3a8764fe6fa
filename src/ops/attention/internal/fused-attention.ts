/** The ops whose scores stay in the kernel: flash and local attention, and attention to a cache. */
import { records } from '../../../autograd/tape.ts';
import type { AttentionPlan, AttentionProblem, BlockPlaces, KeyPlaces } from '../../../kernels/attention-operands.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import type { KernelChoices, Traits } from '../../../tensor/traits.ts';
import { attentionOperand, HEADS_IN_ROWS, type AttentionArguments, type AttentionResult } from './attention.ts';
import { gradientRefusal, recordAttention } from './gradient.ts';
import { enqueue } from '../../internal/enqueue.ts';
import { resolveScores, scoreTensors } from './score-options.ts';
import type { Segment } from '../../internal/table.ts';

/** Where the keys of a cache lie; of a paged one with its page table, `pitch` pages a batch entry. */
export type CacheKeys =
  | Exclude<KeyPlaces, { layout: 'paged' }>
  | { readonly layout: 'paged'; readonly pageSize: number; readonly pages: Segment; readonly pitch: number };

/** Allocates the results of a fused attention kernel and enqueues it; notes on the tape what its gradient takes. */
export function runFused(
  args: AttentionArguments,
  inputs: { q: Tensor; k: Tensor; v: Tensor; mask?: Tensor; keyMask?: Tensor },
  plan: (problem: AttentionProblem, traits: Traits, choices: KernelChoices) => AttentionPlan,
  cache: CacheKeys = { layout: 'contiguous' },
): AttentionResult {
  const { device, outputShape, rowShape, headsInRows } = args;
  const { op, dtype } = args.problem;
  const isRecorded = records(...Object.values(inputs), ...scoreTensors(args.scores));
  const refusal = isRecorded ? gradientRefusal(args.problem, args.scores) : undefined;
  const writesLogSumExp = args.problem.writesLogSumExp || (isRecorded && refusal === undefined);
  return device.scope(() => {
    const blockMask = args.scores.modifiers?.blockMask;
    const others = [
      ...(blockMask ? [{ tensor: blockMask.kinds }] : []),
      ...(cache.layout === 'paged' ? [cache.pages] : []),
    ];
    const { table, scores, otherPlaces } = resolveScores(op, device, args.scores, others);
    const output = device.empty(outputShape, dtype, op, headsInRows ? HEADS_IN_ROWS : undefined);
    const logSumExp = writesLogSumExp ? device.empty(rowShape, 'float32', op) : undefined;
    const problem: AttentionProblem = {
      ...args.problem,
      writesLogSumExp,
      scores,
      keys: cache.layout === 'paged' ? { ...cache, at: otherPlaces.at(-1)! } : cache,
      ...(blockMask && { blocks: blockPlaces(blockMask.kinds, blockMask.blockSize, otherPlaces[0]) }),
      output: attentionOperand(output),
    };
    const { merge, ...launch } = plan(problem, device.traits, device.kernels);
    const { q, k, v, mask, keyMask } = inputs;
    const operands = { q, k, v, mask, key_mask: keyMask, table };
    if (!merge) {
      enqueue(op, launch, { ...operands, output, log_sum_exp: logSumExp });
    } else {
      const partOutput = device.empty([merge.parts, ...outputShape], 'float32', op);
      const partLogSumExp = device.empty([merge.parts, ...rowShape], 'float32', op);
      enqueue(op, launch, { ...operands, output: partOutput, log_sum_exp: partLogSumExp });
      enqueue(op, merge, {
        part_output: partOutput,
        part_log_sum_exp: partLogSumExp,
        output,
        log_sum_exp: logSumExp,
      });
    }
    const result = { output, ...(args.problem.writesLogSumExp && { logSumExp: logSumExp! }) };
    if (isRecorded) recordAttention(args.scores, problem, inputs, { ...result, saved: { table, logSumExp } }, refusal);
    return result;
  });
}

/** Kinds [B or 1, H or 1, query blocks, key blocks]. */
function blockPlaces({ shape }: Tensor, blockSize: number, at: number): BlockPlaces {
  const [batch, heads, rows, columns] = shape;
  return {
    at,
    blockSize,
    columns,
    pitches: [batch === 1 ? 0 : heads * rows * columns, heads === 1 ? 0 : rows * columns],
  };
}
