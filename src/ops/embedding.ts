import { ArgumentError } from '../gpu/errors.ts';
import { planEmbedding } from '../kernels/embedding.ts';
import { formatShape, MAX_RANK } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkFloat, checkIntegers, checkSameDevice } from './check.ts';
import { contiguous } from './copy.ts';
import { enqueue, operandOf } from './enqueue.ts';

/**
 * Rows of a table by their numbers, as torch.nn.functional.embedding. An id that is negative or not below V, which only
 * the GPU sees, gives a row of NaN.
 *
 * @param ids [...], up to five axes; int32 or uint32; any strides
 * @param weight [V, E]; float32 or float16; any strides
 * @returns [..., E], of weight's dtype
 * @throws ArgumentError for shapes or dtypes that do not fit
 */
export function embedding(ids: Tensor, weight: Tensor): Tensor {
  const op = 'embedding';
  checkIntegers(op, 'ids', ids);
  checkFloat(op, 'weight', weight);
  checkSameDevice(op, 'ids', ids, 'weight', weight);
  if (ids.rank >= MAX_RANK) {
    throw new ArgumentError(`${op}: ids must have at most ${MAX_RANK - 1} axes, got ${formatShape(ids.shape)}`);
  }
  if (weight.rank !== 2) {
    throw new ArgumentError(`${op}: weight must be [numEmbeddings, embeddingDim], got ${formatShape(weight.shape)}`);
  }
  const { device } = ids;
  const { dtype } = weight;
  const [tableRows, columns] = weight.shape as [number, number];
  return device.scope(() => {
    const dense = contiguous(ids);
    const output = device.empty([...ids.shape, columns], dtype, op);
    const launch = planEmbedding(
      { op, rows: ids.size, idsOffset: dense.offset, tableRows, columns, dtype, weight: operandOf(weight) },
      device.traits,
    );
    enqueue(op, launch, { ids: dense, weight, output });
    return output;
  });
}
