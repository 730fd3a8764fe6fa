/** Philox4x32-10 in big integers, and sampling by the Gumbel-max trick in float64. */
const WORD = 0xffff_ffffn;

/** Salmon et al., SC 2011: ten rounds; the key grows by Weyl's constants between them. */
export function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [a, b, c, d] = counter.map(BigInt);
  let [k, l] = key.map(BigInt);
  for (let round = 0; round < 10; round++) {
    const [first, second] = [0xd2511f53n * a, 0xcd9e8d57n * c];
    [a, b, c, d] = [(second >> 32n) ^ b ^ k, second & WORD, (first >> 32n) ^ d ^ l, first & WORD];
    [k, l] = [(k + 0x9e3779b9n) & WORD, (l + 0xbb67ae85n) & WORD];
  }
  return [a, b, c, d].map(Number);
}

/** 23 bits in the middles of their intervals. */
export function uniformOf(bits: number): number {
  return ((bits >>> 9) + 0.5) / 2 ** 23;
}

/** What is added to logit `column` of `row`: temperature · −log(−log u). */
export function gumbelNoise(row: number, column: number, seed: number, step: number): number {
  const words = (value: number) => [value % 2 ** 32, Math.floor(value / 2 ** 32)];
  const bits = philox([Math.floor(column / 4), row, ...words(step)], words(seed))[column % 4];
  return -Math.log(-Math.log(uniformOf(bits)));
}

/** Scores of one row. The column with the largest is drawn. */
export function perturbed(
  logits: ArrayLike<number>,
  row: number,
  { temperature, seed = 0, step = 0 }: { temperature: number; seed?: number; step?: number },
): number[] {
  return Array.from(logits, (logit, column) =>
    temperature === 0 ? logit : logit + temperature * gumbelNoise(row, column, seed, step),
  );
}
