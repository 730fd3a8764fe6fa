/**
 * Matrix product in float64.
 *
 *     out[…, m, n] = Σ_k a[…, m, k] · b[…, k, n] + bias[…, m, n]
 *
 * a [..., M, K] ([..., K, M] with transposeA), b [..., K, N] ([..., N, K] with transposeB), leading axes broadcast;
 * bias broadcasts to the result, [..., M, N].
 */
import {
  broadcast,
  broadcastShape,
  broadcastStrides,
  type Float64HostArray,
  type HostArray,
  zeros,
} from './host-array.ts';

export interface MatmulOptions {
  transposeA?: boolean;
  transposeB?: boolean;
  bias?: HostArray;
}

export function matmul(a: HostArray, b: HostArray, options: MatmulOptions = {}): Float64HostArray {
  const { transposeA = false, transposeB = false, bias } = options;
  const [aRows, aColumns] = a.shape.slice(-2);
  const [bRows, bColumns] = b.shape.slice(-2);
  const [rows, inner] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
  const columns = transposeB ? bRows : bColumns;
  const batch = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const aOrigins = origins(a.shape, batch);
  const bOrigins = origins(b.shape, batch);

  const result = zeros([...batch, rows, columns]);
  let at = 0;
  for (let matrix = 0; matrix < aOrigins.length; matrix++) {
    for (let m = 0; m < rows; m++) {
      for (let n = 0; n < columns; n++, at++) {
        for (let k = 0; k < inner; k++) {
          const left = aOrigins[matrix] + (transposeA ? k * aColumns + m : m * aColumns + k);
          const right = bOrigins[matrix] + (transposeB ? n * bColumns + k : k * bColumns + n);
          result.data[at] += a.data[left] * b.data[right];
        }
      }
    }
  }
  if (bias) broadcast(bias, result.shape).data.forEach((value, i) => (result.data[i] += value));
  return result;
}

/** Where each of the batch's matrices begins in an array whose leading axes broadcast to `batch`. */
function origins(shape: readonly number[], batch: readonly number[]): number[] {
  const matrixSize = shape[shape.length - 2] * shape[shape.length - 1];
  const strides = broadcastStrides(shape.slice(0, -2), batch);
  return batch.reduce(
    (bases, length, axis) =>
      bases.flatMap((base) => Array.from({ length }, (_, i) => base + i * strides[axis] * matrixSize)),
    [0],
  );
}
