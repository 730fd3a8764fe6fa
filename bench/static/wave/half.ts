/** Numbers of 16 bits. */
import { bitsOf } from './registers.ts';

export function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** Rounded towards zero, which is near enough where only control flow and addresses matter. */
export function toHalf(value: number): number {
  const word = bitsOf(value);
  const sign = (word >>> 16) & 0x8000;
  if (Number.isNaN(value)) return sign | 0x7e00;
  const exponent = ((word >>> 23) & 255) - 112;
  if (exponent >= 31) return sign | 0x7c00;
  if (exponent <= 0) return sign | Math.floor(Math.abs(value) * 2 ** 24);
  return sign | (exponent << 10) | ((word >>> 13) & 1023);
}
