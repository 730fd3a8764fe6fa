/**
 * The random numbers that tensors are filled with, in float64:
 *
 *     words      = philox(counter = (⌊n / 4⌋, stream, 0, 0x72616e64), key = seed)
 *     uniform    = scale · (2 ⌊words[n mod 4] / 2⁸⌋ + 1 − 2²⁴) / 2²⁴
 *     normal     = scale · √(−2 ln u) · (± cos a for the even n of a pair, ± sin a for the odd)     Box & Muller 1958
 *
 * where u is the pair's first word with its last bit set, over 2³². Of the second word, the upper two bits are the signs of cosine and
 * sine, and the other thirty say how far a is in (0, π/2).
 */
import { philox } from './dropout.ts';

export interface Numbers {
  readonly seed: number;
  readonly stream: number;
  /** A float32. */
  readonly scale: number;
}

export function uniforms(size: number, { seed, stream, scale }: Numbers): number[] {
  return Array.from({ length: size }, (_, n) => {
    const word = wordsOf(seed, stream, n)[n % 4];
    return (scale * (2 * Math.floor(word / 2 ** 8) + 1 - 2 ** 24)) / 2 ** 24;
  });
}

export function normals(size: number, { seed, stream, scale }: Numbers): number[] {
  return Array.from({ length: size }, (_, n) => {
    const words = wordsOf(seed, stream, n);
    const [first, second] = n % 4 < 2 ? words : words.slice(2);
    const u = (first % 2 === 0 ? first + 1 : first) / 2 ** 32;
    const radius = u > 0.5 ? Math.sqrt(-2 * Math.log1p(u - 1)) : Math.sqrt(-2 * Math.log(u));
    const angle = ((Math.PI / 2) * ((second % 2 ** 30) + 0.5)) / 2 ** 30;
    const isOdd = n % 2 === 1;
    const sign = Math.floor(second / (isOdd ? 2 ** 30 : 2 ** 31)) % 2 === 1 ? -1 : 1;
    return scale * sign * radius * (isOdd ? Math.sin(angle) : Math.cos(angle));
  });
}

const known = new Map<string, ReturnType<typeof philox>>();

/** Four neighbours share a draw. A negative seed counts modulo 2⁶⁴. */
function wordsOf(seed: number, stream: number, n: number): ReturnType<typeof philox> {
  const key = BigInt.asUintN(64, BigInt(seed));
  const name = [seed, stream, Math.floor(n / 4)].join();
  let words = known.get(name);
  if (!words) {
    words = philox([Math.floor(n / 4), stream, 0, 0x72616e64], [Number(key % 2n ** 32n), Number(key >> 32n)]);
    known.set(name, words);
  }
  return words;
}
