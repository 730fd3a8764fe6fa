/** What a mask leaves of each block of scores: 0 nothing, 1 some, 2 all. */
export type MaskFunction = (batch: number, head: number, query: number, key: number) => boolean;

export function blockKinds(
  mask: MaskFunction,
  options: { batch?: number; heads?: number; queryLength: number; keyLength: number; blockSize?: number },
): { shape: number[]; kinds: number[] } {
  const { batch = 1, heads = 1, queryLength, keyLength, blockSize = 128 } = options;
  const shape = [batch, heads, Math.ceil(queryLength / blockSize), Math.ceil(keyLength / blockSize)];
  const seen = Array.from({ length: shape.reduce((a, b) => a * b) }, () => new Set<boolean>());
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < queryLength; i++) {
        for (let j = 0; j < keyLength; j++) {
          const row = (b * heads + h) * shape[2] + Math.floor(i / blockSize);
          seen[row * shape[3] + Math.floor(j / blockSize)].add(mask(b, h, i, j));
        }
      }
    }
  }
  return { shape, kinds: seen.map((answers) => (answers.size === 2 ? 1 : answers.has(true) ? 2 : 0)) };
}
