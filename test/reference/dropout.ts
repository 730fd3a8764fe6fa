/**
 * Which elements dropout keeps, on the host: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011) in whole-number arithmetic of any size.
 *
 *     keep[b, h, i, j] = uniform(philox(counter = (⌊j / 4⌋, i, b · H + h, 0x61747464), key = seed)[j mod 4]) ≥ p     attention
 *     keep[n]          = uniform(philox(counter = (⌊n / 4⌋, 0, 0, 0x64726f70), key = seed)[n mod 4]) ≥ p             other tensors
 *     uniform(word)    = (⌊word / 2⁹⌋ + ½) / 2²³
 *
 * p is compared as float32. The seed's low 32 bits are the key's first word, the rest its second.
 */

export interface Dropout {
  /** The share that is dropped; what is kept is divided by 1 − p. */
  readonly p: number;
  readonly keep: (batch: number, head: number, query: number, key: number) => boolean;
}

/** Dropout of attention's weights, for so many heads of queries. In packed batches, queries and keys count within the sequence `batch`. */
export function attentionDropout(p: number, seed: number, heads: number): Dropout {
  const words = rememberedWords(seed);
  return { p, keep: (b, h, i, j) => isKept(words(Math.floor(j / 4), i, b * heads + h, 0x61747464)[j % 4], p) };
}

/** Which of a tensor's elements stay, in row-major order. */
export function dropoutKeeps(size: number, p: number, seed: number): boolean[] {
  const words = rememberedWords(seed);
  return Array.from({ length: size }, (_, n) => isKept(words(Math.floor(n / 4), 0, 0, 0x64726f70)[n % 4], p));
}

function isKept(word: number, p: number): boolean {
  return (Math.floor(word / 2 ** 9) + 0.5) / 2 ** 23 >= Math.fround(p);
}

type Words = readonly [number, number, number, number];

/** Four words serve four neighbours. */
function rememberedWords(seed: number): (...counter: Words) => Words {
  const key = [seed % 2 ** 32, Math.floor(seed / 2 ** 32)] as const;
  const known = new Map<string, Words>();
  return (...counter) => {
    const name = counter.join();
    let words = known.get(name);
    if (!words) known.set(name, (words = philox(counter, key)));
    return words;
  };
}

/** Four random words of 32 bits. */
export function philox(counter: Words, key: readonly [number, number]): Words {
  let words = counter.map(BigInt);
  let [k0, k1] = key.map(BigInt);
  for (let round = 0; round < 10; round++) {
    const [a, b] = [0xd2511f53n * words[0], 0xcd9e8d57n * words[2]];
    words = [(b >> 32n) ^ words[1] ^ k0, low(b), (a >> 32n) ^ words[3] ^ k1, low(a)];
    [k0, k1] = [low(k0 + 0x9e3779b9n), low(k1 + 0xbb67ae85n)];
  }
  const [w0, w1, w2, w3] = words.map(Number);
  return [w0, w1, w2, w3];
}

function low(bits: bigint): bigint {
  return bits & 0xffffffffn;
}
