import { type Float64HostArray, type HostArray, zeros } from './host-array.ts';

/**
 * Rotary position embedding as multiplication by complex numbers: pair i of a row at position p, a + b·√−1, times
 * cos[p, i] + sin[p, i]·√−1. x [B, H, N, D]; cos, sin [P, R/2]; `position(batch, row)` → [B, H, N, D]. A position past the
 * tables gives NaN.
 */
export function rotaryEmbedding(
  x: HostArray,
  cos: HostArray,
  sin: HostArray,
  { position, interleaved = false }: { position: (batch: number, row: number) => number; interleaved?: boolean },
): Float64HostArray {
  const [batch, heads, length, dim] = x.shape;
  const [positions, pairs] = cos.shape;
  const result = zeros(x.shape);
  let start = 0;
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let n = 0; n < length; n++, start += dim) {
        for (let j = 0; j < dim; j++) result.data[start + j] = x.data[start + j];
        const p = position(b, n);
        for (let i = 0; i < pairs; i++) {
          const [real, imaginary] = interleaved ? [start + 2 * i, start + 2 * i + 1] : [start + i, start + i + pairs];
          const isInside = p >= 0 && p < positions;
          const [c, s] = isInside ? [cos.data[p * pairs + i], sin.data[p * pairs + i]] : [NaN, NaN];
          result.data[real] = x.data[real] * c - x.data[imaginary] * s;
          result.data[imaginary] = x.data[real] * s + x.data[imaginary] * c;
        }
      }
    }
  }
  return result;
}
