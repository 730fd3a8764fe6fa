import { record } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { planEmbedding, planEmbeddingGradient, planMergeIds, planOrderIds, RUN } from '../kernels/embedding.ts';
import { operandOf } from '../kernels/launch.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { formatShape, MAX_RANK } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkFloat, checkIntegers, checkSameDevice } from './internal/check.ts';
import { contiguous, reshape } from './copy.ts';

/**
 * Rows of a table by their numbers, as torch.nn.functional.embedding. Only the GPU sees the ids. One that is negative or not
 * below V gives a row of NaN, and no gradient.
 *
 * @param ids [...], up to five axes; int32 or uint32; any strides
 * @param weight [V, E]; float32 or float16; any strides
 * @returns [..., E], of weight's dtype
 * @throws ArgumentError for shapes or dtypes that do not fit
 */
export function embedding(ids: Tensor, weight: Tensor): FloatTensor {
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
  const output = lookUp(op, ids, weight);
  const [tableRows] = weight.shape;
  record({
    op,
    inputs: { weight },
    outputs: [output],
    saved: { ids },
    backward: ([gradient], saved) => ({ weight: gradientOfTable(op, gradient!, saved.ids, tableRows) }),
  });
  return output;
}

function lookUp(op: string, ids: Tensor, weight: FloatTensor): FloatTensor {
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
    device.dispatch(op, launch, { ids: dense, weight, output });
    return output;
  });
}

/** For each row of the table, the sum of the gradient's rows that used it. Out-of-range ids contribute nothing. */
function gradientOfTable(op: string, gradient: Tensor, ids: Tensor, tableRows: number): Tensor {
  const { device } = ids;
  const dtype = gradient.dtype as FloatDType;
  const columns = gradient.shape.at(-1)!;
  const rows = ids.size;
  return device.scope(() => {
    const sorted = orderOf(op, contiguous(ids));
    const matrix = reshape(gradient, [rows, columns]);
    const output = device.zeros([tableRows, columns], { dtype });
    const problem = { op, rows, tableRows, columns, dtype, gradient: operandOf(matrix) };
    device.dispatch(op, planEmbeddingGradient(problem, device.traits), { sorted, gradient: matrix, output });
    return output;
  });
}

/** uint32 [2, N] from contiguous ids: the ids in order (equal ones in their original order), and where each came from. */
function orderOf(op: string, ids: Tensor): Tensor {
  const { device, size: count, offset: idsOffset } = ids;
  const empty = () => device.empty([2, count], 'uint32', op);
  let sorted = empty();
  device.dispatch(op, planOrderIds({ op, count, idsOffset }, device.traits), { ids, sorted });
  for (let run = RUN; run < count; run *= 2) {
    const merged = empty();
    device.dispatch(op, planMergeIds({ op, count, run }, device.traits), { runs: sorted, merged });
    sorted.dispose();
    sorted = merged;
  }
  return sorted;
}
