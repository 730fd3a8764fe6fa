/** The tensors that a case works on, and the same numbers for the reference. */
import { causalMask, createBlockMask, slidingWindow } from '../src/index.ts';
import type { Device, Shape, Tensor, TensorData, VisibilityOptions, ModifierOptions } from '../src/index.ts';
import { uniform } from '../src/tensor/random.ts';
import { caseName } from './cases.ts';
import { attentionSizes } from './cost.ts';
import type { Bias, Matrix } from './reference.ts';
import type { BenchCase } from './result.ts';

/**
 * The tensors of one case, and their numbers as the GPU has them, rounded if they are float16. Each case has different
 * numbers, so that no kernel passes because of what another left in its output's buffer.
 */
export class Inputs {
  readonly device: Device;
  readonly #dtype: BenchCase['dtype'];
  readonly #seed: number;
  readonly #owned: { dispose(): void }[] = [];

  constructor(device: Device, bench: BenchCase) {
    this.device = device;
    this.#dtype = bench.dtype;
    this.#seed = hash(caseName(bench));
  }

  async normal(shape: Shape, dtype = this.#dtype): Promise<{ tensor: Tensor; host: TensorData }> {
    const options = { seed: this.#seed + this.#owned.length, dtype };
    const tensor = this.own(this.device.randn(shape, options));
    return { tensor, host: await tensor.data() };
  }

  floats(host: Float32Array): { tensor: Tensor; host: TensorData } {
    return { tensor: this.own(this.device.tensor(host, [host.length])), host };
  }

  bools(values: Uint8Array, shape: Shape): Tensor {
    return this.own(this.device.tensor(values, shape, { dtype: 'bool' }));
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

/** The share of keys that a mask keeps. */
const KEPT = 0.75;

/** The options that say which keys a query sees, and the same for the reference: the bias of a batch entry's query. */
export async function visibility(
  inputs: Inputs,
  bench: BenchCase,
): Promise<{
  options: VisibilityOptions & ModifierOptions & { keyLengths?: readonly number[] };
  biasOf: (entry: number, query: number) => Bias;
}> {
  const { causal, window = Infinity, mask, keyLengths } = bench;
  const { batch, queryLength, keyLength } = attentionSizes(bench);
  const inBand = (query: number, key: number) => Math.abs(query - key) <= window && !(causal && key > query);
  const biased = (masked: (entry: number, query: number, key: number) => number) => {
    return (entry: number, query: number) => (key: number) =>
      inBand(query, key) ? masked(entry, query, key) : -Infinity;
  };
  const band = bandOptions(inputs, bench);
  switch (mask) {
    case undefined:
      return {
        options: { ...band, ...(keyLengths && { keyLengths }) },
        biasOf: biased((entry, _, key) => (key < (keyLengths?.[entry] ?? keyLength) ? 0 : -Infinity)),
      };
    case 'bool': {
      const next = uniform(1);
      const kept = Uint8Array.from({ length: queryLength * keyLength }, () => Number(next() < KEPT));
      return {
        options: { ...band, mask: inputs.bools(kept, [queryLength, keyLength]) },
        biasOf: biased((_, query, key) => (kept[query * keyLength + key] ? 0 : -Infinity)),
      };
    }
    case 'float': {
      const { tensor, host } = await inputs.normal([queryLength, keyLength]);
      return { options: { ...band, mask: tensor }, biasOf: biased((_, query, key) => host[query * keyLength + key]) };
    }
    case 'key': {
      // padding at the end, as in a batch of sequences; each entry is a little shorter than the one before
      const lengths = Array.from({ length: batch }, (_, entry) => Math.max(1, Math.floor(keyLength * KEPT) - entry));
      const kept = Uint8Array.from({ length: batch * keyLength }, (_, i) =>
        Number(i % keyLength < lengths[Math.floor(i / keyLength)]),
      );
      return {
        options: { ...band, keyMask: inputs.bools(kept, [batch, keyLength]) },
        biasOf: biased((entry, _, key) => (key < lengths[entry] ? 0 : -Infinity)),
      };
    }
  }
}

/** The band as options. A module gets no window here, because its constructor takes that. */
function bandOptions(inputs: Inputs, bench: BenchCase): VisibilityOptions & ModifierOptions {
  const { causal, window, heads, via } = bench;
  if (via === 'mask-mod' || via === 'block-mask') {
    const maskMod = window === undefined ? causalMask() : slidingWindow(window);
    if (via === 'mask-mod') return { maskMod };
    const { queryLength, keyLength } = attentionSizes(bench);
    return { blockMask: inputs.own(createBlockMask(inputs.device, maskMod, { queryLength, keyLength })) };
  }
  const isWindowed = window !== undefined && heads === undefined;
  return { isCausal: causal, ...(isWindowed && { window: { left: window, right: window } }) };
}

export function rowOf(data: TensorData, row: number, width: number): TensorData {
  return data.subarray(row * width, (row + 1) * width);
}

/** The matrix at `index` of a stack of matrices of equal shape. */
export function matrix(data: TensorData, index: number, { rows, width }: { rows: number; width: number }): Matrix {
  return { data, start: index * rows * width, rows, width };
}
