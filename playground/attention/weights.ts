/** The attention weights of every head for a text, computed on the GPU. */
import {
  noGrad,
  scaledDotProductAttention,
  type ScaledDotProductAttentionOptions,
  type Tensor,
} from 'webgpu-attention';
import type { Network } from '../network.ts';
import type { Band } from './tiles.ts';

export interface Settings {
  readonly band: Omit<Band, 'length'>;
  readonly softcap?: number;
  readonly hasAlibi: boolean;
  /** Keys that nothing may attend to. */
  readonly hidden: ReadonlySet<number>;
  readonly modifiers: Pick<ScaledDotProductAttentionOptions, 'scoreMod' | 'maskMod'>;
}

/** @returns for each layer the weights [heads, queries, keys] in row-major order */
export async function attentionWeights(
  network: Network,
  tokens: readonly number[],
  { band, softcap, hasAlibi, hidden, modifiers }: Settings,
): Promise<Float32Array[]> {
  const { device, config } = network;
  const { length } = tokens;
  const { isCausal, window } = band;
  const waiting: Promise<Float32Array>[] = [];
  noGrad(() =>
    device.scope(() => {
      const ids = device.tensor(Uint32Array.from(tokens), [1, length]);
      const options: ScaledDotProductAttentionOptions = {
        isCausal,
        ...modifiers,
        ...(window !== undefined && { window: { left: window, right: isCausal ? 0 : window } }),
        ...(softcap !== undefined && { softcap }),
        ...(hasAlibi && { alibiSlopes: usualSlopes(config.numHeads) }),
        ...(hidden.size > 0 && { keyMask: keyMask(hidden) }),
        returnWeights: true,
      };
      network.forward(ids, (q, k, v) => {
        const { output, weights } = scaledDotProductAttention(q, k, v, options);
        waiting.push(weights!.data());
        return output;
      });
      function keyMask(keys: ReadonlySet<number>): Tensor {
        const visible = Uint8Array.from({ length }, (_, key) => Number(!keys.has(key)));
        return device.tensor(visible, [1, length], { dtype: 'bool' });
      }
    }),
  );
  return Promise.all(waiting);
}

/** 2^(−8 (h + 1) / H), as in Press et al., 2022. */
function usualSlopes(heads: number): number[] {
  return Array.from({ length: heads }, (_, head) => 2 ** ((-8 * (head + 1)) / heads));
}
