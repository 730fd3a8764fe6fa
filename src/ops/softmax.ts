import { noGrad, record } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { checkOptions } from '../tensor/options.ts';
import { broadcastStrides, formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkFinite, checkFloat, checkTensor } from './internal/check.ts';
import { checkVisibility, type Causal } from './attention/internal/visibility.ts';
import { weigh, weighGradient } from './attention/internal/weigh.ts';

export interface SoftmaxOptions {
  /** bool: true = keeps its place; float (of x's dtype): added to the scaled x. Broadcasts to x's shape. */
  mask?: Tensor;
  /** Multiplies x; default 1. */
  scale?: number;
  /** Over the last two axes, [queries, keys]. */
  isCausal?: Causal;
}

/**
 * Masked softmax over the last axis: softmax(scale · x + mask). A row in which everything is masked gives zeros.
 *
 * @param x [Nk], [Nq, Nk], [B, Nq, Nk] or [B, H, Nq, Nk]; float32 or float16; any strides
 * @returns a tensor of x's shape and dtype
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function softmax(x: Tensor, options: SoftmaxOptions = {}): Tensor {
  const op = 'softmax';
  checkOptions(op, options, ['mask', 'scale', 'isCausal']);
  const { mask, scale = 1, isCausal = false } = options;
  checkFloat(op, 'x', x);
  checkFinite(op, 'scale', scale);
  if (x.rank > 4) throw new ArgumentError(`${op}: x must have at most four axes, got ${formatShape(x.shape)}`);
  if (x.rank === 1 && isCausal) throw new ArgumentError(`${op}: x must have two axes to be causal, got one`);
  if (mask !== undefined) checkTensor(op, 'mask', mask);
  // leading axes of length 1 make the shape 4-D; a mask then broadcasts as it would have
  if (mask && !broadcastStrides(mask.shape, mask.strides, x.shape)) {
    throw new ArgumentError(
      `${op}: mask must broadcast to x's shape ${formatShape(x.shape)}, got ${formatShape(mask.shape)}`,
    );
  }
  const shape = scoreShape(x);
  const visibility = checkVisibility(
    op,
    { mask, isCausal },
    {
      batch: shape[0],
      heads: shape[1],
      queryLength: shape[2],
      keyLength: shape[3],
      isHeadless: x.rank === 3,
      like: { name: 'x', tensor: x },
    },
  );
  const weighing = { shape, scale, visibility };
  const { weights } = noGrad(() => weigh(op, { x, mask }, weighing));
  record({
    op,
    inputs: { x, mask },
    outputs: [weights],
    saved: { x, mask },
    backward: ([gradient], saved, needs) => weighGradient(op, saved, weighing, { weights: gradient! }, needs),
  });
  return weights;
}

/** [B, H, Nq, Nk], where three axes are [B, Nq, Nk]. */
function scoreShape({ shape }: Tensor): [number, number, number, number] {
  if (shape.length === 3) return [shape[0], 1, shape[1], shape[2]];
  const [batch = 1, heads = 1, queries = 1, keys = 1] = [
    ...Array.from({ length: 4 - shape.length }, () => 1),
    ...shape,
  ];
  return [batch, heads, queries, keys];
}
