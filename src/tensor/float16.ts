/** float16 on the host, in bulk: Node 20 has no Float16Array, and a general polyfill is a hundred times slower. */

let table: Float32Array | undefined;

/** The value of every pattern of 16 bits. */
function values(): Float32Array {
  table ??= Float32Array.from({ length: 0x10000 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
    return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
  });
  return table;
}

export function decodeFloat16(bits: Uint16Array): Float32Array {
  const decoded = values();
  const result = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) result[i] = decoded[bits[i]];
  return result;
}

/** Rounds to nearest even, as the GPU's `pack2x16float` does. */
export function encodeFloat16(source: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const bits = new Uint16Array(source.length);
  for (let i = 0; i < source.length; i++) bits[i] = float16Bits(source[i]);
  return bits;
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

function float16Bits(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // from 65520 on: infinity
  // normal: rebias the exponent and round off 13 bits
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  // subnormal: next to 0.5 a float32's last place is 2⁻²⁴, a float16 subnormal's, so the addition does the rounding
  scratch[0] = Math.abs(value) + 0.5;
  return sign | (scratchBits[0] - 0x3f000000);
}
