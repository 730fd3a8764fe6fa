/**
 * Attention over all keys from attention over parts of them, in float64.
 *
 *     logSumExp[…, i] = ln Σ_p exp(logSumExp_p[…, i])
 *     output[…, i]    = Σ_p exp(logSumExp_p[…, i] − logSumExp[…, i]) · output_p[…, i]
 *
 * output_p [..., N, Dv], logSumExp_p [..., N]. Where a part's logSumExp is −∞ its output is not read; where all are, the output is 0.
 */
import { type Float64HostArray, type HostArray, zeros } from './host-array.ts';

export interface AttentionPart {
  output: HostArray;
  logSumExp: HostArray;
}

export function mergeAttention(parts: readonly AttentionPart[]): {
  output: Float64HostArray;
  logSumExp: Float64HostArray;
} {
  const [first] = parts;
  const output = zeros(first.output.shape);
  const logSumExp = zeros(first.logSumExp.shape);
  const valueDim = first.output.shape[first.output.shape.length - 1];
  for (let row = 0; row < logSumExp.data.length; row++) {
    const max = parts.reduce((most, part) => Math.max(most, part.logSumExp.data[row]), -Infinity);
    if (max === -Infinity) {
      logSumExp.data[row] = -Infinity;
      continue;
    }
    const shares = parts.map((part) => Math.exp(part.logSumExp.data[row] - max));
    const sum = shares.reduce((total, share) => total + share, 0);
    logSumExp.data[row] = max + Math.log(sum);
    parts.forEach((part, p) => {
      if (part.logSumExp.data[row] === -Infinity) return;
      for (let at = row * valueDim; at < (row + 1) * valueDim; at++) {
        output.data[at] += (shares[p] / sum) * part.output.data[at];
      }
    });
  }
  return { output, logSumExp };
}
