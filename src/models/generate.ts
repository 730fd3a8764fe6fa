import { ArgumentError } from '../gpu/errors.ts';
import type { Signal } from '../gpu/global-types.ts';
import { checkFinite, describe } from '../ops/internal/check.ts';
import { concat } from '../ops/copy.ts';
import { sample } from '../ops/sample.ts';
import type { CacheDType } from '../tensor/dtype.ts';
import { checkOptions, checkWait } from '../tensor/options.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { modelDrafts, promptDrafts, type Drafts, type Draw } from './drafts.ts';
import { checkCacheOptions, type ModelCache, type ModelCacheOptions } from './model-cache.ts';
import type { LanguageModel } from './model.ts';
import { prefill } from './prefill.ts';

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
  /**
   * Drafts tokens, which the model then checks all at once (speculative decoding, Leviathan et al. 2023): a smaller model of the
   * same tokens on the same device, or `'prompt'`, which searches the text for an earlier occurrence of its end. Whatever the temperature,
   * a draft is kept where it is the token that the model draws there, so the text equals that of the same seed without drafts, except
   * where rounding decides between two tokens.
   */
  draft?: LanguageModel | 'prompt';
  /** With `draft`, the number of tokens that are drafted at once; default 4. */
  draftTokens?: number;
  /** Ends the text: the next token rejects with the signal's reason, and everything is freed. */
  signal?: Signal;
}

/** How drafts fared. A step gives one token more than it accepts: (`accepted` + `steps`) / `steps` tokens on average. */
export interface Speculation {
  /** Times that the model checked drafts, or computed a token for want of any. */
  readonly steps: number;
  /** Number of tokens that were drafted. */
  readonly drafted: number;
  /** Number of those that the model would have drawn itself. */
  readonly accepted: number;
}

export interface GenerateResult {
  readonly promptTokens: number;
  /** Number of tokens that were yielded. */
  readonly tokens: number;
  /** Why the text ended: an end token came, or the text reached the limit of tokens or positions. */
  readonly reason: 'end' | 'length';
  /** With `draft`, how the drafts fared. */
  readonly speculation?: Speculation;
  /** Milliseconds until the first token was there. On first use this includes the compilation of kernels. */
  readonly prefillTime: number;
  /** Milliseconds from the first token to the last, including the time that the caller took between tokens. */
  readonly decodeTime: number;
}

const OPTIONS = [
  'maxTokens',
  'temperature',
  'seed',
  'endTokens',
  'cacheDType',
  'cacheKind',
  'draft',
  'draftTokens',
  'signal',
];

/** Tokens that are drafted at once by default. */
const DRAFT_TOKENS = 4;

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
  const { draft, draftTokens = DRAFT_TOKENS } = options;
  checkDraft(call, model, draft);
  if (!isCount(draftTokens) || draftTokens < 1) {
    throw new ArgumentError(`${call}: draftTokens must be an integer of at least 1, got ${describe(draftTokens)}`);
  }
  if (draft === undefined && options.draftTokens !== undefined) {
    throw new ArgumentError(`${call}: draftTokens must come with draft, got ${draftTokens} without`);
  }
  // the last token is never fed back
  const most = Math.min(maxTokens, model.maxLength - prompt.length + 1);
  const cache = { dtype: cacheDType ?? model.dtype, kind: cacheKind ?? 'contiguous' } as const;
  const job = { prompt, most, temperature, seed, endTokens, cache, signal };
  return draft === undefined ? run(model, job) : speculate(model, { ...job, draft, draftTokens });
}

/** @throws ArgumentError unless it is absent, `'prompt'`, or a model of the same tokens on the same device */
function checkDraft(call: string, model: LanguageModel, draft: unknown): void {
  if (draft === undefined || draft === 'prompt') return;
  const { device, config } = (draft ?? {}) as Partial<LanguageModel>;
  if (device === undefined || config === undefined) {
    throw new ArgumentError(`${call}: draft must be a LanguageModel or 'prompt', got ${describe(draft)}`);
  }
  if (device !== model.device) throw new ArgumentError(`${call}: draft must be on the model's device, got another one`);
  if (config.vocabSize !== model.config.vocabSize) {
    throw new ArgumentError(
      `${call}: draft must have the model's ${model.config.vocabSize} tokens, got ${config.vocabSize}`,
    );
  }
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

interface SpeculativeJob extends Job {
  readonly draft: LanguageModel | 'prompt';
  readonly draftTokens: number;
}

async function* speculate(
  model: LanguageModel,
  { prompt, most, temperature, seed, endTokens, cache: kind, draft, draftTokens, signal }: SpeculativeJob,
): AsyncGenerator<number, GenerateResult, undefined> {
  signal?.throwIfAborted();
  const { device } = model;
  const options = { ...kind, capacity: prompt.length + most - 1 };
  using cache = model.createCache(options);
  using drafts = draft === 'prompt' ? promptDrafts(model) : modelDrafts(draft, options);
  const begin = performance.now();
  let [firstAt, lastAt] = [begin, begin];
  const text = [...prompt];
  const counts = { steps: 0, drafted: 0, accepted: 0 };
  const result = (reason: GenerateResult['reason']): GenerateResult => ({
    promptTokens: prompt.length,
    tokens: text.length - prompt.length,
    reason,
    speculation: counts,
    prefillTime: firstAt - begin,
    decodeTime: lastAt - firstAt,
  });
  using first = device.scope(() => sample(prefill(model, cache, prompt), { temperature, seed, step: 0 }));
  let drawn = await first.data({ signal });
  firstAt = performance.now();
  lastAt = firstAt;
  for (;;) {
    for (const token of drawn) {
      if (endTokens.includes(token)) return result('end');
      text.push(token);
      yield token;
    }
    const step = text.length - prompt.length;
    if (step === most) return result('length');
    // a step also gives the token after the last draft
    const room = Math.min(draftTokens, most - step - 1);
    const checked = device.scope(() => check(model, cache, drafts, text, room, { temperature, seed, step }));
    try {
      const [[, ...proposed], wanted] = await Promise.all([
        checked.ids.data({ signal }),
        checked.drawn.data({ signal }),
      ]);
      lastAt = performance.now();
      const wrong = proposed.findIndex((token, i) => token !== wanted[i]);
      const accepted = wrong < 0 ? proposed.length : wrong;
      counts.steps++;
      counts.drafted += proposed.length;
      counts.accepted += accepted;
      cache.truncate(text.length + accepted);
      drafts.keep(text.length + accepted);
      drawn = wanted.subarray(0, accepted + 1);
    } finally {
      checked.ids.dispose();
      checked.drawn.dispose();
    }
  }
}

/**
 * Drafts at most `room` tokens, and draws the model's own after the text and after each draft.
 *
 * @returns ids [1, N], the text's last token and the drafts; drawn [N], each with the step that it has without drafts
 */
function check(
  model: LanguageModel,
  cache: ModelCache,
  drafts: Drafts,
  text: readonly number[],
  room: number,
  { step, ...draw }: Draw,
): { ids: Tensor<'uint32'>; drawn: Tensor<'uint32'> } {
  const { device } = model;
  const last = device.tensor(Uint32Array.of(text.at(-1)!), [1, 1]);
  const proposed = room > 0 ? drafts.propose(text, room, { step, ...draw }) : undefined;
  const ids = proposed ? concat(last, proposed, 1) : last;
  const logits = model.forward(ids, cache, { logits: 'all' });
  const rows = Array.from({ length: ids.shape[1] }, (_, i) => {
    return sample(logits.slice(1, i, i + 1).reshape([1, model.config.vocabSize]), { ...draw, step: step + i });
  });
  return { ids, drawn: rows.reduce((before, row) => concat(before, row, 0)) };
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
