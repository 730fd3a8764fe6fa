import { type Float64HostArray, type HostArray, zeros } from './host-array.ts';

/** Rows of a table: out[…, :] = weight[ids[…], :], or NaN if there is no such row. ids [...], weight [V, E] → [..., E]. */
export function embedding(ids: HostArray, weight: HostArray): Float64HostArray {
  const [rows, columns] = weight.shape;
  const result = zeros([...ids.shape, columns]);
  for (let i = 0; i < ids.data.length; i++) {
    const id = ids.data[i];
    for (let j = 0; j < columns; j++) {
      result.data[i * columns + j] = id >= 0 && id < rows ? weight.data[id * columns + j] : NaN;
    }
  }
  return result;
}
