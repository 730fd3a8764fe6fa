/** Rotary position embedding of checked tensors: for the op, and for queries of a cache. */
import { record, records } from '../../autograd/tape.ts';
import { planRotaryEmbedding, type RotaryEmbeddingProblem } from '../../kernels/elementwise.ts';
import { operandOf } from '../../kernels/launch.ts';
import type { Device } from '../../tensor/device.ts';
import type { FloatTensor, Tensor } from '../../tensor/tensor.ts';
import { axesLike, viewWithHeads } from './heads.ts';

interface Angles {
  /** `cos` and `sin` are both float32 [P, R/2]. */
  readonly cos: Tensor;
  readonly sin: Tensor;
  /** Position of every row, in place of offsets: int32 or uint32 [B, N], where B may be 1. */
  readonly positions?: Tensor;
}

interface Turn {
  /** Position of each batch entry's row 0, or one for all. */
  readonly offsets: readonly number[];
  /** Whether pairs are columns 2i and 2i + 1, not i and i + R/2. */
  readonly interleaved: boolean;
}

/** Rotates x [B, H, N, D] or [B, N, D] and records it. The caller's scope frees intermediate tensors. */
export function rotate(op: string, x: FloatTensor, angles: Angles, how: Turn): FloatTensor {
  const output = turn(op, x, angles, { ...how, isInverse: false });
  const { cos, sin, positions } = angles;
  record({
    op,
    inputs: { x, cos, sin },
    outputs: [output],
    saved: { cos, sin, positions },
    ...(records(cos, sin) && {
      refusal: `${op}: cos and sin must not require a gradient, got one that does: detach it`,
    }),
    backward: ([gradient], saved) => ({
      x: turn(op, gradient as FloatTensor, saved, { ...how, isInverse: true }),
    }),
  });
  return output;
}

function turn(
  op: string,
  x: FloatTensor,
  { cos, sin, positions }: Angles,
  { offsets, interleaved, isInverse }: Turn & { readonly isInverse: boolean },
): FloatTensor {
  const { device, dtype } = x;
  const [batch, heads, length, dim] = viewWithHeads(x).shape;
  const [tableRows, pairs] = cos.shape;
  const places = placeRows(device, offsets, positions);
  const rows = {
    op,
    shape: [batch, heads, length, dim] as const,
    rotaryDim: 2 * pairs,
    tableRows,
    dtype,
    x: operandOf(viewWithHeads(x)),
    cos: operandOf(cos),
    sin: operandOf(sin),
    offset: places.offset,
    positions: places.operand,
    interleaved,
    isInverse,
  };
  const output = device.empty(x.shape, dtype, op, axesLike(x));
  const launch = planRotaryEmbedding({ ...rows, output: operandOf(viewWithHeads(output)) }, device.traits);
  device.dispatch(op, launch, { x, cos_table: cos, sin_table: sin, positions: places.tensor, output });
  return output;
}

/** One offset is a number; more, or all positions, are read from a tensor. */
function placeRows(
  device: Device,
  offsets: readonly number[],
  positions?: Tensor,
): { offset: number; operand?: RotaryEmbeddingProblem['positions']; tensor?: Tensor } {
  if (positions) return { offset: 0, operand: { ...operandOf(positions), all: true }, tensor: positions };
  if (offsets.every((offset) => offset === offsets[0])) return { offset: offsets[0] };
  const tensor = device.words(offsets, 'rotaryEmbedding');
  return { offset: 0, operand: { strides: [1, 0], offset: 0, all: false }, tensor };
}
