import { noGrad, record } from '../../autograd/tape.ts';
import { ArgumentError } from '../../gpu/errors.ts';
import { planMergeGradient } from '../../kernels/attention-gradient.ts';
import { planMergeAttention } from '../../kernels/attention.ts';
import { operandOf } from '../../kernels/launch.ts';
import type { FloatDType } from '../../tensor/dtype.ts';
import { formatShape } from '../../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../../tensor/tensor.ts';
import type { AttentionResult } from './internal/call.ts';
import { checkFloat, checkSameDevice, checkTensor, describe } from '../internal/check.ts';
import { cast, contiguous } from '../copy.ts';
import { copyWords } from '../internal/copy.ts';
import { viewWithHeads } from '../internal/heads.ts';

/** Attention over some of the keys, as attention ops return it with `returnLogSumExp`. */
export type AttentionPart = Readonly<Record<'output' | 'logSumExp', Tensor>>;

/**
 * Attention over all keys, from attention over parts of them: with L = log Σ exp(Lₚ), O = Σ exp(Lₚ − L) · Oₚ
 * (Flash-Decoding, Dao et al., 2023). You can divide the keys over calls, devices or machines. Only one part may have sinks.
 *
 * @param parts outputs [B, H, Nq, Dv] (or [B, Nq, Dv]) of one float dtype, each with its float32 log-sum-exp [B, H, Nq]
 *   (or [B, Nq]); a part without keys has −∞ there and gets no weight
 * @returns output of the parts' dtype, and log-sum-exp
 * @throws ArgumentError for shapes or dtypes that differ
 */
export function mergeAttention(parts: readonly AttentionPart[]): Required<AttentionResult> {
  const op = 'mergeAttention';
  const isList: boolean = Array.isArray(parts);
  if (!isList || parts.length === 0) {
    throw new ArgumentError(`${op}: parts must hold at least one { output, logSumExp }, got ${describe(parts)}`);
  }
  const like = parts[0]?.output; // checked first of all
  parts.forEach((part, i) => checkPart(op, i, part, like));
  const merged = merge(op, parts, like as FloatTensor);
  const places = parts.map((_, i) => [`parts[${i}].output`, `parts[${i}].logSumExp`] as const);
  const named = Object.fromEntries(
    parts.flatMap(({ output, logSumExp }, i) => [
      [places[i][0], output],
      [places[i][1], logSumExp],
    ]),
  );
  record({
    op,
    inputs: named,
    outputs: [merged.output, merged.logSumExp],
    saved: named,
    backward: ([output, logSumExp], saved) => {
      const given = places.map(([first, second]) => ({ output: saved[first], logSumExp: saved[second] }));
      const gradients = gradientsOfParts(op, given, { output, logSumExp });
      return Object.fromEntries(
        gradients.flatMap((part, i) => [
          [places[i][0], part.output],
          [places[i][1], part.logSumExp],
        ]),
      );
    },
  });
  return merged;
}

function merge(op: string, parts: readonly AttentionPart[], like: FloatTensor): Required<AttentionResult> {
  const { device } = like;
  const rowShape = like.shape.slice(0, -1);
  const [batch, heads, queryLength] = viewWithHeads(like).shape;
  return device.scope(() => {
    const stack = stackParts(op, parts, like);
    const output = device.empty(like.shape, like.dtype, op);
    const logSumExp = device.empty(rowShape, 'float32', op);
    const launch = planMergeAttention(
      {
        op,
        parts: parts.length,
        batch,
        heads,
        queryLength,
        valueDim: like.shape.at(-1)!,
        dtype: like.dtype,
        output: operandOf(viewWithHeads(output)),
        writesLogSumExp: true,
      },
      device.traits,
    );
    device.dispatch(op, launch, {
      part_output: stack.output,
      part_log_sum_exp: stack.logSumExp,
      output,
      log_sum_exp: logSumExp,
    });
    return { output, logSumExp };
  });
}

/** The parts one after another, row-major and float32. Call it inside a scope, unrecorded. */
function stackParts(op: string, parts: readonly AttentionPart[], like: Tensor): AttentionPart {
  const { device, shape, size } = like;
  const output = device.empty([parts.length, ...shape], 'float32', op);
  const logSumExp = device.empty([parts.length, ...shape.slice(0, -1)], 'float32', op);
  parts.forEach((part, i) => {
    copyWords(
      op,
      noGrad(() => cast(part.output, 'float32')),
      output,
      i * size,
    );
    copyWords(op, part.logSumExp, logSumExp, i * part.logSumExp.size);
  });
  return { output, logSumExp };
}

/** From the gradients of the merged output and its log-sum-exp, either of which may be absent. */
function gradientsOfParts(
  op: string,
  parts: readonly AttentionPart[],
  gradients: Partial<AttentionPart>,
): readonly AttentionPart[] {
  const like = parts[0].output;
  const { device, shape } = like;
  const dtype = like.dtype as FloatDType;
  const rowShape = shape.slice(0, -1);
  const valueDim = shape.at(-1)!;
  const dense = (x: Tensor | undefined) => x && contiguous(cast(x, 'float32'));
  const [gradient, logSumExpGradient] = [dense(gradients.output), dense(gradients.logSumExp)];
  const stack = stackParts(op, parts, like);
  const output = device.empty([parts.length, ...shape], dtype, op);
  const logSumExp = device.empty([parts.length, ...rowShape], 'float32', op);
  const launch = planMergeGradient(
    {
      op,
      parts: parts.length,
      rows: like.size / valueDim,
      valueDim,
      dtype,
      hasGradient: gradient !== undefined,
      hasLogSumExpGradient: logSumExpGradient !== undefined,
    },
    device.traits,
  );
  device.dispatch(op, launch, {
    part_output: stack.output,
    part_log_sum_exp: stack.logSumExp,
    gradient,
    log_sum_exp_gradient: logSumExpGradient,
    output,
    part_gradient: logSumExp,
  });
  return parts.map((_, i) => ({
    output: output.slice(0, i, i + 1).reshape(shape),
    logSumExp: logSumExp.slice(0, i, i + 1).reshape(rowShape),
  }));
}

function checkPart(op: string, index: number, part: AttentionPart, like: Tensor): void {
  const name = `parts[${index}]`;
  checkFloat(op, `${name}.output`, part?.output);
  checkTensor(op, `${name}.logSumExp`, part.logSumExp);
  const { output, logSumExp } = part;
  checkSameDevice(op, 'parts[0].output', like, `${name}.output`, output);
  checkSameDevice(op, 'parts[0].output', like, `${name}.logSumExp`, logSumExp);
  if (output.rank !== 3 && output.rank !== 4) {
    throw new ArgumentError(`${op}: ${name}.output must have three or four axes, got ${formatShape(output.shape)}`);
  }
  if (formatShape(output.shape) !== formatShape(like.shape) || output.dtype !== like.dtype) {
    throw new ArgumentError(`${op}: ${name}.output must be ${describe(like)} like the first, got ${describe(output)}`);
  }
  const rows = formatShape(output.shape.slice(0, -1));
  if (formatShape(logSumExp.shape) !== rows || logSumExp.dtype !== 'float32') {
    throw new ArgumentError(`${op}: ${name}.logSumExp must be a float32 tensor of ${rows}, got ${describe(logSumExp)}`);
  }
}
