/**
 * Cross-entropy in float64, of rows of logits and a class for each.
 *
 *     row[i]  = (1 − ε) · (lse_i − x[i, t_i]) + ε · mean_j (lse_i − x[i, j])        lse_i = ln Σ_j exp x[i, j]
 *     dx[i, j] = dRow[i] · (exp(x[i, j] − lse_i) − (1 − ε) · [j = t_i] − ε / V)
 *
 * logits [..., V], targets [...] → rows [...]. Rows whose target is ignored have loss and gradient 0 and do not count in a mean; a
 * target that is not a class gives NaN.
 */
import { type Float64HostArray, type HostArray, zeros } from './host-array.ts';

export interface CrossEntropyOptions {
  /** Default −100. */
  ignoreIndex?: number;
  /** Default 'mean'; then, and for 'sum', the loss has the shape [1]. */
  reduction?: 'mean' | 'sum' | 'none';
  /** ε, default 0. */
  labelSmoothing?: number;
}

export function crossEntropy(
  logits: HostArray,
  targets: HostArray,
  options: CrossEntropyOptions = {},
): Float64HostArray {
  const { reduction = 'mean', ignoreIndex = -100, labelSmoothing: smoothing = 0 } = options;
  const rows = zeros(targets.shape);
  const counted = Array.from(targets.data).filter((target) => target !== ignoreIndex).length;
  rowsOf(logits).forEach((row, i) => {
    const target = targets.data[i];
    if (target === ignoreIndex) return;
    const lse = logSumExp(row);
    const surprise = row.reduce((sum, x) => sum + (lse - x), 0) / row.length;
    rows.data[i] = (1 - smoothing) * (lse - (row[target] ?? NaN)) + (smoothing > 0 ? smoothing * surprise : 0);
  });
  if (reduction === 'none') return rows;
  const sum = rows.data.reduce((total, loss) => total + loss, 0);
  return { shape: [1], data: Float64Array.of(reduction === 'mean' ? sum / counted : sum) };
}

export function crossEntropyGradient(
  logits: HostArray,
  targets: HostArray,
  dLoss: HostArray,
  options: CrossEntropyOptions = {},
): Float64HostArray {
  const { reduction = 'mean', ignoreIndex = -100, labelSmoothing: smoothing = 0 } = options;
  const gradient = zeros(logits.shape);
  const classes = logits.shape.at(-1)!;
  const counted = Array.from(targets.data).filter((target) => target !== ignoreIndex).length;
  rowsOf(logits).forEach((row, i) => {
    const target = targets.data[i];
    if (target === ignoreIndex) return;
    const dRow = reduction === 'none' ? dLoss.data[i] : dLoss.data[0] / (reduction === 'mean' ? counted : 1);
    const lse = target in row ? logSumExp(row) : NaN;
    row.forEach((x, j) => {
      const wanted = (j === target ? 1 - smoothing : 0) + smoothing / classes;
      gradient.data[i * classes + j] = dRow * (Math.exp(x - lse) - wanted);
    });
  });
  return gradient;
}

function rowsOf({ shape, data }: HostArray): number[][] {
  const classes = shape.at(-1)!;
  return Array.from({ length: data.length / classes }, (_, i) =>
    Array.from({ length: classes }, (__, j) => data[i * classes + j]),
  );
}

function logSumExp(row: readonly number[]): number {
  const max = row.reduce((largest, x) => Math.max(largest, x), -Infinity);
  return max + Math.log(row.reduce((sum, x) => sum + Math.exp(x - max), 0));
}
