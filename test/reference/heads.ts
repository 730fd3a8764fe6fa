import { type Float64HostArray, type HostArray, zeros } from './host-array.ts';

/** [N, L, H·D] → [N, H, L, D] */
export function splitHeads({ shape: [batches, length, columns], data }: HostArray, heads: number): Float64HostArray {
  return swapMiddle({ shape: [batches, length, heads, columns / heads], data });
}

/** [N, H, L, D] → [N, L, H·D] */
export function joinHeads(x: HostArray): Float64HostArray {
  const { shape, data } = swapMiddle(x);
  return { shape: [shape[0], shape[1], shape[2] * shape[3]], data };
}

/** [A, B, C, D] → [A, C, B, D] */
function swapMiddle({ shape: [a, b, c, d], data }: HostArray): Float64HostArray {
  const result = zeros([a, c, b, d]);
  let at = 0;
  for (let i = 0; i < a; i++) {
    for (let k = 0; k < c; k++) {
      for (let j = 0; j < b; j++) {
        for (let l = 0; l < d; l++) result.data[at++] = data[((i * b + j) * c + k) * d + l];
      }
    }
  }
  return result;
}

/** [N, ...] → [N, 1, ...] */
export function withHead({ shape: [batches, ...rest], data }: HostArray): HostArray {
  return { shape: [batches, 1, ...rest], data };
}

/** [N, 1, ...] → [N, ...] */
export function withoutHead({ shape: [batches, , ...rest], data }: Float64HostArray): Float64HostArray {
  return { shape: [batches, ...rest], data };
}
