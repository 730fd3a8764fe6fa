/** A seed or counter below 2⁵³ as Philox takes it, the low 32 bits first: twin of parts/random.wgsl. */
export function twoWords(value: number): [number, number] {
  return [value >>> 0, Math.floor(value / 2 ** 32)];
}
