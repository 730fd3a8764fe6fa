/** Where speculative decoding gets its drafts from: the text so far, or a smaller model. */
import { concat } from '../ops/copy.ts';
import { sample } from '../ops/sample.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { ModelCache, ModelCacheOptions } from './model-cache.ts';
import type { LanguageModel } from './model.ts';
import { prefill } from './prefill.ts';

/** How the tokens after a text are drawn: `step` is that of the first of them. */
export interface Draw {
  readonly temperature: number;
  readonly seed: number;
  readonly step: number;
}

export interface Drafts {
  /** Returns at most `most` tokens that may follow the text, uint32 [1, count], or none. Call it inside a scope. */
  propose(text: readonly number[], most: number, draw: Draw): Tensor<'uint32'> | undefined;
  /** Forgets all but the first `length` tokens of the text. */
  keep(length: number): void;
  [Symbol.dispose](): void;
}

/** The longest end of a text that is looked for in it, in tokens. */
const LONGEST_END = 3;

/** The tokens that followed where the end of the text occurs in it already (prompt lookup decoding, Saxena 2023). */
export function promptDrafts({ device }: LanguageModel): Drafts {
  return {
    propose(text, most) {
      const found = lookUp(text, most);
      return found.length > 0 ? device.tensor(Uint32Array.from(found), [1, found.length]) : undefined;
    },
    keep: () => undefined,
    [Symbol.dispose]: () => undefined,
  };
}

/**
 * Returns at most `most` tokens that followed the last earlier occurrence of the text's end. Of ends of three tokens, two and
 * one it takes the longest that occurs.
 */
export function lookUp(text: readonly number[], most: number): readonly number[] {
  for (let size = Math.min(LONGEST_END, text.length - 1); size > 0; size--) {
    const end = text.length - size;
    for (let at = end - 1; at >= 0; at--) {
      let same = 0;
      while (same < size && text[at + same] === text[end + same]) same++;
      if (same === size) return text.slice(at + size, at + size + most);
    }
  }
  return [];
}

/** What a smaller model draws after the text, with the random numbers that the larger one will draw with. */
export function modelDrafts(model: LanguageModel, options: ModelCacheOptions & { readonly capacity: number }): Drafts {
  const capacity = Math.min(options.capacity, model.maxLength);
  const cache: ModelCache = model.createCache({ ...options, capacity });
  return {
    propose(text, most, { step, ...draw }) {
      const count = Math.min(most, capacity - text.length + 1); // the last draft is never fed back
      if (count <= 0) return undefined;
      let next = sample(prefill(model, cache, text.slice(cache.length)), { ...draw, step }).reshape([1, 1]);
      let drafts = next;
      for (let i = 1; i < count; i++) {
        next = sample(model.forward(next, cache), { ...draw, step: step + i }).reshape([1, 1]);
        drafts = concat(drafts, next, 1);
      }
      return drafts;
    },
    keep: (length) => cache.truncate(Math.min(length, cache.length)),
    [Symbol.dispose]: () => cache.dispose(),
  };
}
