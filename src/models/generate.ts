import { ArgumentError } from '../gpu/errors.ts';
import type { Signal } from '../gpu/global-types.ts';
import { checkFinite, describe } from '../ops/internal/check.ts';
import { sample } from '../ops/sample.ts';
import type { CacheDType } from '../tensor/dtype.ts';
import { checkOptions, checkWait } from '../tensor/options.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkCacheOptions, type ModelCache, type ModelCacheOptions } from './model-cache.ts';
import type { LanguageModel } from './model.ts';

export interface GenerateOptions {
  /** Maximum number of tokens to generate; default 256. A text also ends when the model has no position left. */
  maxTokens?: number;
  /** Divides the logits; 0 takes the likeliest token. Default 1. */
  temperature?: number;
  /** Seed of the random numbers, an integer of at least 0; default the device's next one. */
  seed?: number;
  /** Tokens that end the text, such as a checkpoint's `endTokens`; default none. */
  endTokens?: readonly number[];
  /** Dtype of the cached keys and values; default the model's dtype. */
  cacheDType?: CacheDType;
  /** How the cache stores keys and values; default `'contiguous'`. */
  cacheKind?: ModelCacheOptions['kind'];
  /** Ends the text: the next token rejects with the signal's reason, and everything is freed. */
  signal?: Signal;
}

export interface GenerateResult {
  readonly promptTokens: number;
  /** Number of tokens that were yielded. */
  readonly tokens: number;
  /** Why the text ended: an end token came, or the text reached the limit of tokens or positions. */
  readonly reason: 'end' | 'length';
  /** Milliseconds until the first token was there. On first use this includes the compilation of kernels. */
  readonly prefillTime: number;
  /** Milliseconds from the first token to the last, including the time that the caller took between tokens. */
  readonly decodeTime: number;
}

const OPTIONS = ['maxTokens', 'temperature', 'seed', 'endTokens', 'cacheDType', 'cacheKind', 'signal'];

/** Number of tokens of a prompt that are computed at once, so that their activations stay small. */
const CHUNK = 512;

/**
 * Continues a prompt, token by token. All work happens on the GPU, which keeps each token as the next step's input. Only
 * the token's number comes back to the host, while the GPU already computes the next one.
 *
 * @param prompt tokens, at least one and at most the model's `maxLength`
 * @returns an iterator that yields tokens, without the one that ends the text, and returns counts and times
 * @throws ArgumentError at once for a prompt or options that do not fit
 */
export function generate(
  model: LanguageModel,
  prompt: readonly number[],
  options: GenerateOptions = {},
): AsyncGenerator<number, GenerateResult, undefined> {
  const call = 'generate';
  checkOptions(call, options, OPTIONS);
  checkWait(call, options);
  const { maxTokens = 256, temperature = 1, endTokens = [], cacheDType, cacheKind, signal } = options;
  const { vocabSize } = model.config;
  const isPrompt: boolean = Array.isArray(prompt);
  if (!isPrompt || prompt.length < 1 || prompt.length > model.maxLength) {
    throw new ArgumentError(
      `${call}: prompt must have 1 to ${model.maxLength} tokens, got ${isPrompt ? prompt.length : describe(prompt)}`,
    );
  }
  const wrong = prompt.find((token) => !isCount(token) || token >= vocabSize);
  if (wrong !== undefined) {
    throw new ArgumentError(`${call}: prompt must hold tokens from 0 to ${vocabSize - 1}, got ${describe(wrong)}`);
  }
  if (!isCount(maxTokens) || maxTokens < 1) {
    throw new ArgumentError(`${call}: maxTokens must be an integer of at least 1, got ${describe(maxTokens)}`);
  }
  checkFinite(call, 'temperature', temperature);
  if (temperature < 0) throw new ArgumentError(`${call}: temperature must be at least 0, got ${temperature}`);
  const { seed = model.device.nextSeed() } = options;
  if (!isCount(seed)) throw new ArgumentError(`${call}: seed must be an integer of at least 0, got ${describe(seed)}`);
  const isList: boolean = Array.isArray(endTokens);
  if (!isList) {
    throw new ArgumentError(`${call}: endTokens must be a list of tokens, got ${describe(endTokens)}`);
  }
  checkCacheOptions(call, { dtype: 'cacheDType', kind: 'cacheKind' }, { dtype: cacheDType, kind: cacheKind });
  // the last token is never fed back
  const most = Math.min(maxTokens, model.maxLength - prompt.length + 1);
  const cache = { dtype: cacheDType ?? model.dtype, kind: cacheKind ?? 'contiguous' } as const;
  return run(model, { prompt, most, temperature, seed, endTokens, cache, signal });
}

interface Job {
  readonly prompt: readonly number[];
  readonly most: number;
  readonly temperature: number;
  readonly seed: number;
  readonly endTokens: readonly number[];
  readonly cache: Pick<ModelCacheOptions, 'dtype' | 'kind'>;
  readonly signal: AbortSignal | undefined;
}

async function* run(
  model: LanguageModel,
  { prompt, most, temperature, seed, endTokens, cache: kind, signal }: Job,
): AsyncGenerator<number, GenerateResult, undefined> {
  signal?.throwIfAborted();
  const { device } = model;
  const cache = model.createCache({ ...kind, capacity: prompt.length + most - 1 });
  const begin = performance.now();
  let [firstAt, lastAt] = [begin, begin];
  let tokens = 0;
  let reason: GenerateResult['reason'] = 'length';
  let next: Tensor | undefined;
  let following: Tensor | undefined;
  try {
    next = device.scope(() => sample(prefill(model, cache, prompt), { temperature, seed, step: 0 }));
    for (let step = 1; ; step++) {
      const reading = next.data({ signal });
      reading.catch(() => undefined); // it is awaited below, unless the next step fails first
      const goOn = (): void => {
        if (step < most) following = advance(model, cache, next!, { temperature, seed, step });
      };
      // the first token is timed by itself, so nothing overlaps with it
      if (step > 1) goOn();
      const [token] = await reading;
      lastAt = performance.now();
      if (step === 1) {
        firstAt = lastAt;
        goOn();
      }
      if (endTokens.includes(token)) {
        reason = 'end';
        break;
      }
      tokens++;
      yield token;
      if (following === undefined) break;
      next.dispose();
      next = following;
      following = undefined;
    }
  } finally {
    next?.dispose();
    following?.dispose();
    cache.dispose();
  }
  return {
    promptTokens: prompt.length,
    tokens,
    reason,
    prefillTime: firstAt - begin,
    decodeTime: lastAt - firstAt,
  };
}

/** Appends the prompt to an empty cache, and returns the logits [1, V] after it. */
function prefill(model: LanguageModel, cache: ModelCache, prompt: readonly number[]): Tensor {
  const { device } = model;
  for (let at = 0; ; at += CHUNK) {
    const chunk = prompt.slice(at, at + CHUNK);
    const ids = device.tensor(Uint32Array.from(chunk), [1, chunk.length]);
    const logits = model.forward(ids, cache);
    if (at + CHUNK >= prompt.length) return logits;
  }
}

/** Submits the step that follows a token, and returns its token. */
function advance(
  model: LanguageModel,
  cache: ModelCache,
  token: Tensor,
  options: { temperature: number; seed: number; step: number },
): Tensor {
  const next = model.device.scope(() => sample(model.forward(token.reshape([1, 1]), cache), options));
  model.device.flush();
  return next;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
