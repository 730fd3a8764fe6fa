/** The tensors that a case works on, and the same numbers for the reference. */
import type { Device, Shape, Tensor, TensorData } from '../src/index.ts';
import { uniform } from '../src/tensor/random.ts';
import { caseName } from './cases.ts';
import { attentionSizes } from './cost.ts';
import type { Bias, Matrix } from './reference.ts';
import type { BenchCase } from './result.ts';

/**
 * The tensors of one case, and their numbers as the GPU has them: of float16, what rounding left. Each case has others, so
 * that no kernel passes for what another left in the buffer that its output gets.
 */
export class Inputs {
  readonly #device: Device;
  readonly #dtype: BenchCase['dtype'];
  readonly #seed: number;
  readonly #owned: { dispose(): void }[] = [];

  constructor(device: Device, bench: BenchCase) {
    this.#device = device;
    this.#dtype = bench.dtype;
    this.#seed = hash(caseName(bench));
  }

  async normal(shape: Shape): Promise<{ tensor: Tensor; host: TensorData }> {
    const options = { seed: this.#seed + this.#owned.length, dtype: this.#dtype };
    const tensor = this.own(this.#device.randn(shape, options));
    return { tensor, host: await tensor.data() };
  }

  bools(values: Uint8Array, shape: Shape): Tensor {
    return this.own(this.#device.tensor(values, shape, { dtype: 'bool' }));
  }

  own<T extends { dispose(): void }>(owned: T): T {
    this.#owned.push(owned);
    return owned;
  }

  dispose(): void {
    for (const owned of this.#owned) owned.dispose();
  }
}

function hash(text: string): number {
  return Array.from(text).reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) | 0, 0);
}

/** Of the keys that a mask could hide, this share stays. */
const KEPT = 0.75;

/** The options that say who sees whom, and the same for the reference: the bias of a batch entry's query. */
export async function visibility(
  inputs: Inputs,
  bench: BenchCase,
): Promise<{
  options: { isCausal: boolean; mask?: Tensor; keyMask?: Tensor };
  biasOf: (entry: number, query: number) => Bias;
}> {
  const { causal: isCausal, window = Infinity, mask } = bench;
  const { batch, queryLength, keyLength } = attentionSizes(bench);
  const inBand = (query: number, key: number) => Math.abs(query - key) <= window && !(isCausal && key > query);
  const biased = (masked: (entry: number, query: number, key: number) => number) => {
    return (entry: number, query: number) => (key: number) =>
      inBand(query, key) ? masked(entry, query, key) : -Infinity;
  };
  switch (mask) {
    case undefined:
      return { options: { isCausal }, biasOf: biased(() => 0) };
    case 'bool': {
      const next = uniform(1);
      const kept = Uint8Array.from({ length: queryLength * keyLength }, () => Number(next() < KEPT));
      return {
        options: { isCausal, mask: inputs.bools(kept, [queryLength, keyLength]) },
        biasOf: biased((_, query, key) => (kept[query * keyLength + key] ? 0 : -Infinity)),
      };
    }
    case 'float': {
      const { tensor, host } = await inputs.normal([queryLength, keyLength]);
      return { options: { isCausal, mask: tensor }, biasOf: biased((_, query, key) => host[query * keyLength + key]) };
    }
    case 'key': {
      // padding at the end, as a batch of sequences has it; each entry a little shorter
      const lengths = Array.from({ length: batch }, (_, entry) => Math.max(1, Math.floor(keyLength * KEPT) - entry));
      const kept = Uint8Array.from({ length: batch * keyLength }, (_, i) =>
        Number(i % keyLength < lengths[Math.floor(i / keyLength)]),
      );
      return {
        options: { isCausal, keyMask: inputs.bools(kept, [batch, keyLength]) },
        biasOf: biased((entry, _, key) => (key < lengths[entry] ? 0 : -Infinity)),
      };
    }
  }
}

export function rowOf(data: TensorData, row: number, width: number): TensorData {
  return data.subarray(row * width, (row + 1) * width);
}

/** The matrix numbered `index` of a stack of equal ones. */
export function matrix(data: TensorData, index: number, { rows, width }: { rows: number; width: number }): Matrix {
  return { data, start: index * rows * width, rows, width };
}
