import { noGrad, record } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { checkOptions } from '../tensor/options.ts';
import { broadcastStrides, formatShape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkFinite, checkFloat, checkTensor } from './internal/check.ts';
import { checkOptionValues, combineEffects, type CallSizes, type Causal } from './attention/internal/options.ts';
import { weigh, weighGradient } from './attention/internal/weigh.ts';

export interface SoftmaxOptions {
  /** bool: true = kept, false = weight 0; float (of x's dtype): added to the scaled x. Broadcasts to x's shape. */
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
export function softmax(x: Tensor, options: SoftmaxOptions = {}): FloatTensor {
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
  return x.device.scope(() => {
    const [scores, scoreMask] = [x, mask].map((tensor) => tensor && withFourAxes(tensor, x.rank));
    const [batch, heads, queryLength, keyLength] = scores!.shape;
    const sizes: CallSizes = {
      op,
      like: { name: 'x', tensor: x },
      batch,
      heads,
      queryLength,
      keyLength,
      headDim: 1,
      isHeadless: false,
    };
    const effects = checkOptionValues({ mask: scoreMask, isCausal, scale }, sizes);
    const weighing = { shape: [batch, heads, queryLength, keyLength], options: combineEffects(effects, []) } as const;
    const { weights } = noGrad(() => weigh(op, { x: scores!, mask: scoreMask }, weighing));
    record({
      op,
      inputs: { x: scores, mask: scoreMask },
      outputs: [weights],
      saved: { x: scores!, mask: scoreMask },
      backward: ([gradient], saved, needs) => weighGradient(op, saved, weighing, { weights: gradient! }, needs),
    });
    return weights.reshape(x.shape);
  });
}

/** As [B, H, Nq, Nk]: scores of `rank` axes (three are [B, Nq, Nk]), or a mask that broadcasts to them. */
function withFourAxes(tensor: Tensor, rank: number): Tensor {
  const { shape } = tensor;
  const aligned = [...Array.from({ length: rank - shape.length }, () => 1), ...shape];
  if (rank === 3) return tensor.reshape(aligned.toSpliced(1, 0, 1));
  return tensor.reshape([...Array.from({ length: 4 - rank }, () => 1), ...aligned]);
}
