import { describe, expect, test, vi } from 'vitest';
import { ArgumentError, createDevice, LoadError, OutOfMemoryError, type FloatDType } from '../../src/index.ts';
import {
  generate,
  Llama,
  readHuggingFaceLlama,
  readLlama2c,
  readLlama2cTokenizer,
  type GenerateOptions,
  type GenerateResult,
  type LlamaCache,
  type LlamaCacheOptions,
  type LlamaCheckpoint,
} from '../../src/models.ts';
import { testDevice, triesEveryKernel } from '../device.ts';
import { IS_MATRIX } from '../matrix/narrow.ts';
import { expectClose } from '../reference/compare.ts';
import { readReferenceLlama2c, referenceGreedy, referenceLogits, type ReferenceModel } from '../reference/llama.ts';
import { tolerances, type Tolerance } from '../reference/tolerances.ts';
import { describeStories } from './shared-models.ts';
import {
  interleavePairs,
  llama2cFile,
  safetensorsFile,
  TINY,
  tinyConfig,
  tinyReference,
  tinyWeights,
  type TinyRotary,
  type TinySizes,
} from './tiny-llama.ts';

const device = await testDevice();
const isBroad = await triesEveryKernel();
const BETWEEN: readonly (LlamaCacheOptions & { readonly dtype?: FloatDType })[] = [
  { kind: 'contiguous', dtype: 'float16' },
  { kind: 'paged', dtype: 'float32' },
];

const TOKENS = [1, 7, 33, 2, 49, 0, 21, 21, 5];

/** The logits after the last of these tokens. */
async function step(model: Llama, tokens: readonly number[], cache: LlamaCache): Promise<number[]> {
  using ids = device.tensor(Int32Array.from(tokens), [1, tokens.length]);
  using logits = model.forward(ids, cache);
  expect(logits.shape).toEqual([1, model.config.vocabSize]);
  return Array.from(await logits.data());
}

/** A prompt of all but the last three tokens, then those one by one: the logits after the prompt and after each. */
async function lastLogits(model: Llama, tokens: readonly number[], options: LlamaCacheOptions = {}): Promise<number[]> {
  using cache = model.createCache(options);
  const logits = await step(model, tokens.slice(0, -3), cache);
  for (const token of tokens.slice(-3)) logits.push(...(await step(model, [token], cache)));
  expect(cache.length).toBe(tokens.length);
  return logits;
}

function wantedLogits(reference: ReferenceModel, tokens: readonly number[]): number[] {
  return referenceLogits(reference, tokens)
    .slice(-4)
    .flatMap((logits) => Array.from(logits));
}

async function collect(
  model: Llama,
  prompt: readonly number[],
  options: GenerateOptions,
): Promise<{ tokens: number[]; result: GenerateResult }> {
  const steps = generate(model, prompt, options);
  const tokens: number[] = [];
  for (;;) {
    const next = await steps.next();
    if (next.done) return { tokens, result: next.value };
    tokens.push(next.value);
  }
}

describe('a random model against the float64 reference', () => {
  interface Variant {
    sizes?: Partial<TinySizes>;
    config?: object;
    rotary?: TinyRotary;
    format?: 'F32' | 'F16' | 'BF16';
  }

  const llama3 = { factor: 4, low: 1, high: 4, original: 16 };

  test.each<[string, Variant]>([
    ['grouped heads, F32', {}],
    ['a tied classifier and one key head, BF16', { sizes: { tied: true, kvHeads: 1 }, format: 'BF16' }],
    ['as many key heads as heads, biases, F16', { sizes: { kvHeads: 4, bias: true }, format: 'F16' }],
    [
      "Llama 3.1's rotary scaling, another base and epsilon",
      {
        config: {
          rope_theta: 1000,
          rms_norm_eps: 0.01,
          rope_scaling: {
            rope_type: 'llama3',
            factor: llama3.factor,
            low_freq_factor: llama3.low,
            high_freq_factor: llama3.high,
            original_max_position_embeddings: llama3.original,
          },
        },
        rotary: { base: 1000, normEps: 0.01, llama3 },
      },
    ],
    ['heads that are wider together than the rest', { sizes: { headDim: 10 } }],
  ])('%s', async (_name, { sizes: change, config, rotary, format = 'F32' }) => {
    const sizes = { ...TINY, ...change };
    const weights = tinyWeights(sizes, 3);
    const checkpoint = readHuggingFaceLlama(tinyConfig(sizes, config), [safetensorsFile(weights, format)]);
    using model = new Llama(device, checkpoint);
    const wanted = wantedLogits(tinyReference(sizes, weights, rotary), TOKENS);
    expectClose(await lastLogits(model, TOKENS), wanted, tolerances.float32.logits, 'logits');
  });

  const weights = tinyWeights(TINY, 4);
  const checkpoint = readHuggingFaceLlama(tinyConfig(TINY), [
    // one product joins q, k and v, whatever each is stored as
    safetensorsFile(weights, (name) => (name.includes('k_proj') ? 'BF16' : 'F16')),
  ]);
  const wanted = wantedLogits(tinyReference(TINY, weights), TOKENS);

  test.runIf(IS_MATRIX)('a paged float16 cache without a spare row', async () => {
    using model = new Llama(device, checkpoint, { maxLength: 16 });
    const options = { kind: 'paged', pageSize: 4, dtype: 'float16', capacity: 9 } as const;
    expectClose(await lastLogits(model, TOKENS, options), wanted, tolerances.float16.logits, 'logits');
  });

  test('everything in float16', async () => {
    using model = new Llama(device, checkpoint, { dtype: 'float16' });
    expectClose(await lastLogits(model, TOKENS), wanted, tolerances.float16.llama, 'logits');
  });

  test('weights all in F16, of which a float16 model keeps the bits', async () => {
    const halves = readHuggingFaceLlama(tinyConfig(TINY), [safetensorsFile(weights, 'F16')]);
    using model = new Llama(device, halves, { dtype: 'float16' });
    const { 'lm_head.weight': classifier, 'model.layers.1.self_attn.qkv_proj.weight': joined } = model.stateDict();
    expect([classifier.dtype, joined.dtype, joined.shape]).toEqual(['float16', 'float16', [64, 24]]);
    expect(await classifier.data()).toEqual(weights['lm_head.weight'].data);
    const parts = ['q', 'k', 'v'].flatMap((part) =>
      Array.from(weights[`model.layers.1.self_attn.${part}_proj.weight`].data),
    );
    expect(Array.from(await joined.data())).toEqual(parts);
  });

  test("the same model as llama2.c's file, whose pairs are neighbours", async () => {
    const sizes: TinySizes = { ...TINY, dim: 32 };
    const halfSplit = tinyWeights(sizes, 5);
    const neighbours = interleavePairs(sizes, halfSplit);
    using model = new Llama(device, readLlama2c(llama2cFile(sizes, neighbours)));
    const logits = await lastLogits(model, TOKENS);
    const own = wantedLogits(tinyReference(sizes, neighbours, { interleaved: true }), TOKENS);
    expectClose(logits, own, tolerances.float32.logits, 'interleaved');
    const other = wantedLogits(tinyReference(sizes, halfSplit), TOKENS);
    expectClose(logits, other, tolerances.float32.logits, 'half-split');
  });

  test.runIf(IS_MATRIX)('logits after every token, and again after a truncation', async () => {
    const all = referenceLogits(tinyReference(TINY, weights), TOKENS).map((logits) => Array.from(logits));
    using model = new Llama(device, checkpoint);
    for (const kind of ['contiguous', 'paged'] as const) {
      using cache = model.createCache({ kind, pageSize: 4 });
      const forward = async (tokens: readonly number[]) => {
        using ids = device.tensor(Int32Array.from(tokens), [1, tokens.length]);
        using logits = model.forward(ids, cache, { logits: 'all' });
        expect(logits.shape).toEqual([1, tokens.length, TINY.vocab]);
        return Array.from(await logits.data());
      };
      const first = await forward([...TOKENS.slice(0, 3), 9, 9, 9]);
      expectClose(first.slice(0, 3 * TINY.vocab), all.slice(0, 3).flat(), tolerances.float32.logits, kind);
      cache.truncate(3);
      expect(cache.length).toBe(3);
      expectClose(await forward(TOKENS.slice(3)), all.slice(3).flat(), tolerances.float32.logits, `${kind}, again`);
      expect(() => cache.truncate(10)).toThrow(
        'ModelCache.truncate: length must be an integer from 0 to the 9 keys held, got 10',
      );
    }
    using cache = model.createCache();
    using ids = device.tensor(Int32Array.of(1), [1, 1]);
    expect(() => model.forward(ids, cache, { logits: 'first' as 'all' })).toThrow(
      "Llama.forward: logits must be 'last' or 'all', got 'first'",
    );
  });

  test('two sequences in one batch, and again after a reset', async () => {
    const rows = [TOKENS.slice(0, 4), TOKENS.slice(5, 9)];
    const reference = tinyReference(TINY, weights);
    const both = rows.flatMap((tokens) => Array.from(referenceLogits(reference, tokens).at(-1)!));
    using model = new Llama(device, checkpoint);
    for (const kind of ['contiguous', 'paged'] as const) {
      using cache = model.createCache({ batch: 2, kind, pageSize: 4, capacity: 4 });
      for (let round = 0; round < 2; round++) {
        for (const [from, to] of [
          [0, 3],
          [3, 4],
        ]) {
          const ids = Uint32Array.from(rows.flatMap((tokens) => tokens.slice(from, to)));
          using tensor = device.tensor(ids, [2, to - from]);
          using logits = model.forward(tensor, cache);
          if (to === 4) expectClose(await logits.data(), both, tolerances.float32.logits, kind);
        }
        cache.reset();
        expect(cache.length).toBe(0);
      }
    }
  });

  test('steps keep nothing but the cache, and a model that is gone nothing at all', async () => {
    await device.sync();
    const before = device.memory().live;
    const model = new Llama(device, checkpoint);
    const cache = model.createCache();
    const ready = device.memory().live;
    await step(model, TOKENS, cache);
    await step(model, [3], cache);
    expect(device.memory().live).toBe(ready);
    cache.dispose();
    model.dispose();
    cache.dispose();
    model.dispose();
    expect(device.memory().live).toBe(before);
  });

  test('a model prints its sizes, and its cache how much it holds', async () => {
    using model = new Llama(device, checkpoint, { maxLength: 16 });
    const { embedDim, hiddenDim, numLayers, numHeads, numKvHeads, headDim, vocabSize } = model.config;
    expect(String(model)).toBe(
      `Llama(embedDim=${embedDim}, hiddenDim=${hiddenDim}, numLayers=${numLayers}, numHeads=${numHeads}, ` +
        `numKvHeads=${numKvHeads}, headDim=${headDim}, vocabSize=${vocabSize}, maxLength=16, dtype='float32')`,
    );
    const cache = model.createCache({ capacity: 8 });
    await step(model, TOKENS.slice(0, 3), cache);
    const text = `ModelCache(length=3, capacity=8, batch=1, layers=${numLayers}`;
    expect(String(cache)).toBe(`${text})`);
    cache.dispose();
    expect(String(cache)).toBe(`${text}, disposed)`);
  });

  test('nothing is recorded for gradients', () => {
    using model = new Llama(device, checkpoint);
    expect(model.parameters().some(({ requiresGrad }) => requiresGrad)).toBe(false);
    using cache = model.createCache();
    using ids = device.tensor(Int32Array.from(TOKENS), [1, TOKENS.length]);
    using logits = model.requiresGrad().forward(ids, cache);
    expect(logits.requiresGrad).toBe(false);
  });

  test('refuses what does not fit, and goes on', async () => {
    using model = new Llama(device, checkpoint, { maxLength: 16 });
    using cache = model.createCache({ capacity: 8 });
    const forward = (data: Int32Array | Float32Array, shape: number[], to = cache): unknown => {
      using ids = device.tensor(data, shape);
      return model.forward(ids, to);
    };
    await step(model, TOKENS.slice(0, 5), cache);
    expect(() => forward(new Float32Array(2), [1, 2])).toThrow('ids must be an int32 or uint32 tensor, got a float32');
    expect(() => forward(new Int32Array(2), [2])).toThrow('ids must be [1, length] for the cache, got [2]');
    expect(() => forward(new Int32Array(2), [2, 1])).toThrow('ids must be [1, length] for the cache, got [2, 1]');
    expect(() => forward(new Int32Array(4), [1, 4])).toThrow(
      new ArgumentError("Llama.forward: ids must fit the cache's 8 positions, of which 5 are taken, got 4 more"),
    );
    const logits = await step(model, TOKENS.slice(5, 8), cache);
    expectClose(logits, wanted.slice(2 * TINY.vocab, 3 * TINY.vocab), tolerances.float32.logits, 'afterwards');

    expect(() => model.createCache({ capacity: 17 })).toThrow(
      "Llama.createCache: capacity must be an integer from 1 to the model's 16 positions, got 17",
    );
    expect(() => model.createCache({ kind: 'ring' as 'paged' })).toThrow("kind must be 'contiguous' or 'paged'");
    expect(() => model.createCache({ pages: 3 } as LlamaCacheOptions)).toThrow("unknown option 'pages'");
    expect(() => new Llama(device, checkpoint, { maxLength: 33 })).toThrow(
      "from 1 to the model's 32 positions, got 33",
    );
    expect(() => new Llama(device, checkpoint, { dtype: 'int32' as 'float16' })).toThrow('dtype must be float32 or');
    const { 'model.norm.weight': _, ...rest } = checkpoint.weights;
    expect(() => new Llama(device, { ...checkpoint, weights: rest })).toThrow(
      new LoadError("Llama: weights must fit the model's sizes: 'model.norm.weight' is missing"),
    );
  });

  test('leaves nothing behind where there is no room for it', async () => {
    using small = await createDevice({ memoryBudget: 30_000 });
    expect(() => new Llama(small, checkpoint)).toThrow(OutOfMemoryError);
    expect(small.memory().live).toBe(0);
    using enough = await createDevice({ memoryBudget: 80_000 });
    using model = new Llama(enough, checkpoint);
    const before = enough.memory().live;
    expect(() => model.createCache({ batch: 16 })).toThrow(OutOfMemoryError);
    expect(enough.memory().live).toBe(before);
  });
});

describe('generate', () => {
  const weights = tinyWeights(TINY, 6);
  const checkpoint: LlamaCheckpoint = readHuggingFaceLlama(tinyConfig(TINY), [safetensorsFile(weights, 'F32')]);
  const model = new Llama(device, checkpoint);
  const reference = tinyReference(TINY, weights);
  const greedy = { temperature: 0, maxTokens: 12 };

  test('takes the likeliest tokens, as many as asked for, and reports times', async () => {
    const { tokens, result } = await collect(model, [1, 7, 33], greedy);
    expect(tokens).toEqual(referenceGreedy(reference, [1, 7, 33], 12).tokens);
    expect(result).toMatchObject({ promptTokens: 3, tokens: 12, reason: 'length' });
    expect(result.prefillTime).toSatisfy(Number.isFinite);
    expect(result.decodeTime).toSatisfy(Number.isFinite);
  });

  test('ends before an end token', async () => {
    const wanted = referenceGreedy(reference, [1, 7, 33], 12).tokens;
    for (const end of [wanted[0], wanted[4]]) {
      const { tokens, result } = await collect(model, [1, 7, 33], { ...greedy, endTokens: [3000, end] });
      expect(tokens).toEqual(wanted.slice(0, wanted.indexOf(end)));
      expect(result).toMatchObject({ tokens: tokens.length, reason: 'end' });
    }
  });

  test('takes a long prompt in parts', async () => {
    const sizes = { ...TINY, maxLength: 530 };
    const prompt = Array.from({ length: 520 }, (_, i) => (7 * i) % TINY.vocab);
    using long = new Llama(device, readHuggingFaceLlama(tinyConfig(sizes), [safetensorsFile(weights, 'F32')]));
    const forward = vi.spyOn(long, 'forward');
    const { tokens } = await collect(long, prompt, { temperature: 0, maxTokens: 3 });
    expect(forward.mock.calls.map(([ids]) => ids.shape)).toEqual([
      [1, 512],
      [1, 8],
      [1, 1],
      [1, 1],
    ]);
    expect(tokens).toEqual(referenceGreedy(reference, prompt, 3).tokens);
    vi.restoreAllMocks();
  });

  test("ends where the model's positions end", async () => {
    // the last token needs no position
    using short = new Llama(device, checkpoint, { maxLength: 6 });
    const { tokens, result } = await collect(short, [1, 7, 33, 2], greedy);
    expect(tokens).toEqual(referenceGreedy(reference, [1, 7, 33, 2], 3).tokens);
    expect(result.reason).toBe('length');
    const full = await collect(short, TOKENS.slice(0, 6), greedy);
    expect(full.tokens).toHaveLength(1);
    expect(full.result.decodeTime).toBe(0);
  });

  test("drafts change no token, whether they are the text's own or another model's", async () => {
    using other = new Llama(
      device,
      readHuggingFaceLlama(tinyConfig(TINY), [safetensorsFile(tinyWeights(TINY, 7), 'F32')]),
    );
    const prompt = [1, 7, 33, 2, 7, 33];
    for (const options of [
      { ...greedy, maxTokens: 20 },
      { seed: 3, maxTokens: 20 },
    ] satisfies GenerateOptions[]) {
      const plain = await collect(model, prompt, options);
      expect(plain.result.speculation).toBeUndefined();
      for (const draft of ['prompt', model, other] as const) {
        const { live } = device.memory();
        const { tokens, result } = await collect(model, prompt, { ...options, draft, draftTokens: 3 });
        expect(tokens).toEqual(plain.tokens);
        expect(result).toMatchObject({ promptTokens: 6, tokens: 20, reason: 'length' });
        const { steps, drafted, accepted } = result.speculation!;
        expect(steps + accepted).toBe(19); // all but the first, which comes with the prompt
        // the model agrees with itself: steps of four tokens
        if (draft === model) expect([steps, drafted, accepted]).toEqual([5, 14, 14]);
        else expect(accepted).toBeLessThanOrEqual(drafted);
        expect(device.memory().live).toBe(live);
      }
    }
  });

  test('drafts end with the text', async () => {
    const wanted = referenceGreedy(reference, [1, 7, 33], 12).tokens;
    const { tokens, result } = await collect(model, [1, 7, 33], { ...greedy, draft: model, endTokens: [wanted[3]] });
    expect(tokens).toEqual(wanted.slice(0, wanted.indexOf(wanted[3])));
    expect(result).toMatchObject({ tokens: tokens.length, reason: 'end' });
    // where either model's positions end
    using short = new Llama(device, checkpoint, { maxLength: 8 });
    const few = await collect(model, [1, 7, 33], { ...greedy, draft: short });
    expect(few.tokens).toEqual(wanted);
    expect((await collect(short, [1, 7, 33, 2], { ...greedy, draft: 'prompt' })).tokens).toEqual(
      referenceGreedy(reference, [1, 7, 33, 2], 5).tokens,
    );
    // a text that is left early leaves nothing
    const { live } = device.memory();
    for await (const _ of generate(model, [1], { draft: model, seed: 1 })) break;
    expect(device.memory().live).toBe(live);
  });

  test('refuses drafts that do not fit', () => {
    const wide = { ...model.config, vocabSize: 9 };
    for (const [options, message] of [
      [{ draft: 'text' }, "draft must be a LanguageModel or 'prompt', got 'text'"],
      [{ draft: { device, config: wide } }, "draft must have the model's 50 tokens, got 9"],
      [{ draft: { device: {}, config: wide } }, "draft must be on the model's device, got another one"],
      [{ draftTokens: 3 }, 'draftTokens must come with draft, got 3 without'],
      [{ draft: 'prompt', draftTokens: 0 }, 'draftTokens must be an integer of at least 1, got 0'],
    ] as const) {
      expect(() => generate(model, [1], options as unknown as GenerateOptions)).toThrow(`generate: ${message}`);
    }
  });

  test('draws the same text for the same seed, and others for others', async () => {
    const draw = async (seed: number): Promise<string> => (await collect(model, [1], { seed })).tokens.join();
    const texts = [await draw(1), await draw(1), await draw(2), await draw(3)];
    expect(texts[1]).toBe(texts[0]);
    expect(new Set(texts).size).toBe(3);
  });

  test('uploads the prompt and reads back four bytes a token', async () => {
    const write = vi.spyOn(device.runtime, 'write');
    const read = vi.spyOn(device.runtime, 'read');
    await collect(model, [1, 7, 33], greedy);
    expect(write.mock.calls.map(([, bytes]) => bytes.length)).toEqual([12]);
    expect(read.mock.calls.map(([, , bytes]) => bytes)).toEqual(Array<number>(12).fill(4));
    vi.restoreAllMocks();
  });

  test('leaves nothing, whenever it is left', async () => {
    const before = device.memory().live;
    let count = 0;
    for await (const token of generate(model, [1], { ...greedy, temperature: 1, seed: 1 })) {
      expect(token).toBeLessThan(TINY.vocab);
      if (++count === 4) break;
    }
    expect(device.memory().live).toBe(before);
    generate(model, [1]); // never started
    expect(device.memory().live).toBe(before);
    await collect(model, [1, 2], greedy);
    expect(device.memory().live).toBe(before);
  });

  test.each<[unknown, GenerateOptions, string]>([
    [[], {}, 'prompt must have 1 to 32 tokens, got 0'],
    [null, {}, 'prompt must have 1 to 32 tokens, got null'],
    [[1], { endTokens: 3 as unknown as number[] }, 'endTokens must be a list of tokens, got 3'],
    [[1], { cacheDType: 'bool' as 'float16' }, "cacheDType must be one of float32, float16, int8, int4, got 'bool'"],
    [[1], { cacheKind: 'ring' as 'paged' }, "cacheKind must be 'contiguous' or 'paged', got 'ring'"],
    [Array<number>(33).fill(1), {}, 'prompt must have 1 to 32 tokens, got 33'],
    [[1, 50], {}, 'prompt must hold tokens from 0 to 49, got 50'],
    [[1, -1], {}, 'prompt must hold tokens from 0 to 49, got -1'],
    [[1.5], {}, 'got 1.5'],
    [[1], { maxTokens: 0 }, 'maxTokens must be an integer of at least 1, got 0'],
    [[1], { temperature: -1 }, 'temperature must be at least 0, got -1'],
    [[1], { temperature: NaN }, 'temperature must be a finite number, got NaN'],
    [[1], { seed: -1 }, 'seed must be an integer of at least 0, got -1'],
    [[1], { topP: 0.9 } as GenerateOptions, "unknown option 'topP'"],
  ])('refuses %j with %j', (prompt, options, message) => {
    expect(() => generate(model, prompt as number[], options)).toThrow(ArgumentError);
    expect(() => generate(model, prompt as number[], options)).toThrow(message);
  });
});

describeStories('the model', ({ model: file, tokenizer: tokenizerFile }) => {
  const LENGTH = isBroad ? 200 : 80;
  const checkpoint = readLlama2c(file);
  const model = new Llama(device, checkpoint);
  const reference = readReferenceLlama2c(file);
  const greedy = referenceGreedy(reference, [1], LENGTH);
  const tokenizer = readLlama2cTokenizer(tokenizerFile, checkpoint.config.vocabSize);

  test.each<GenerateOptions>([{}, { cacheDType: 'float16', cacheKind: 'paged' }])(
    `writes what the reference writes, ${LENGTH} tokens, cache %j`,
    async (options) => {
      const { tokens, result } = await collect(model, [1], { temperature: 0, maxTokens: LENGTH, ...options });
      expect(tokens).toEqual(greedy.tokens);
      expect(result.reason).toBe('length');
      const text = tokenizer.decode([1, ...tokens]);
      expect(text).toMatch(
        /^Once upon a time, there was a little girl named Lily\. She loved to play outside in the park\. One day, /,
      );
    },
  );

  test('writes it with drafts from the text too, in fewer steps', async () => {
    const options = { temperature: 0, maxTokens: LENGTH, draft: 'prompt' } as const;
    const { tokens, result } = await collect(model, [1], options);
    expect(tokens).toEqual(greedy.tokens);
    const { steps, accepted } = result.speculation!;
    expect(steps + accepted).toBe(LENGTH - 1);
    expect(accepted).toBeGreaterThan(isBroad ? 20 : 0);
  });

  /** Feeds the reference's text, six tokens at a time, so that no further kernels are needed, and at last one by one. */
  async function compare(fed: Llama, cache: LlamaCache, bound: Tolerance): Promise<void> {
    const tokens = [1, ...greedy.tokens];
    for (let at = 0; at < 70; at += at < 60 ? 6 : 1) {
      const next = tokens.slice(at, at < 60 ? at + 6 : at + 1);
      const last = at + next.length - 1;
      expectClose(await step(fed, next, cache), greedy.logits[last], bound, `token ${last}`);
    }
  }

  test('has its logits after a whole prompt', async () => {
    using cache = model.createCache({ capacity: 180 });
    const logits = await step(model, [1, ...greedy.tokens.slice(0, LENGTH - 21)], cache);
    expectClose(logits, greedy.logits[LENGTH - 21], tolerances.float32.logits, 'logits');
  });

  test.each<LlamaCacheOptions & { readonly dtype?: FloatDType }>([
    { kind: 'contiguous', dtype: 'float32' },
    ...(isBroad ? BETWEEN : []),
    { kind: 'paged', dtype: 'float16' },
  ])('has its logits, cache %j', async (options) => {
    using cache = model.createCache({ ...options, capacity: 80, pageSize: 4 });
    await compare(model, cache, tolerances[options.dtype!].logits);
  });

  test('has them in float16 throughout', async () => {
    using half = new Llama(device, checkpoint, { dtype: 'float16' });
    using cache = half.createCache({ capacity: 70 });
    await compare(half, cache, tolerances.float16.llama);
  });
});
