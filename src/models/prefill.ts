import type { Tensor } from '../tensor/tensor.ts';
import type { ModelCache } from './model-cache.ts';
import type { LanguageModel } from './model.ts';

/** Number of tokens that are computed at once, so that their activations stay small. */
const CHUNK = 512;

/** Appends tokens, at least one, to a cache of one sequence, and returns the logits [1, V] after the last. Call it inside a scope. */
export function prefill(model: LanguageModel, cache: ModelCache, tokens: readonly number[]): Tensor {
  const { device } = model;
  for (let at = 0; ; at += CHUNK) {
    const chunk = tokens.slice(at, at + CHUNK);
    const ids = device.tensor(Uint32Array.from(chunk), [1, chunk.length]);
    const logits = model.forward(ids, cache);
    if (at + CHUNK >= tokens.length) return logits;
  }
}
