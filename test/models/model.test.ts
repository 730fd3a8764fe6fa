import { describe, expect, test } from 'vitest';
import { ArgumentError, embedding } from '../../src/index.ts';
import { generate, type LanguageModel, type LanguageModelConfig } from '../../src/models.ts';
import { readHuggingFaceModel } from '../../src/models/hugging-face-checkpoint.ts';
import { checkStep, ModelCache } from '../../src/models/model-cache.ts';
import { joinNames } from '../../src/models/weights.ts';
import { testDevice } from '../device.ts';
import { safetensorsFile, TINY, tinyConfig, tinyWeights } from './tiny-llama.ts';

const device = await testDevice();

/** A model without layers: each token is followed by the likeliest of its row. */
function bigrams(followers: readonly number[]): LanguageModel {
  const vocabSize = followers.length;
  const config: LanguageModelConfig = {
    embedDim: vocabSize,
    numLayers: 0,
    numHeads: 1,
    numKvHeads: 1,
    vocabSize,
    maxLength: 16,
  };
  const rows = followers.flatMap((follower) => Array.from({ length: vocabSize }, (_, i) => (i === follower ? 1 : 0)));
  const table = device.tensor(rows, [vocabSize, vocabSize]);
  device.keep(table);
  return {
    device,
    config,
    dtype: 'float32',
    maxLength: config.maxLength,
    createCache: (options = {}) =>
      new ModelCache('bigrams', device, { ...config, headDim: 2, dtype: 'float32' }, options),
    forward(ids, cache) {
      checkStep('bigrams', ids, cache, 0);
      const [batch, length] = ids.shape;
      cache.advance(length);
      return device.scope(() =>
        embedding(ids, table)
          .slice(1, length - 1, length)
          .reshape([batch, vocabSize]),
      );
    },
    dispose: () => table.dispose(),
    [Symbol.dispose]: () => table.dispose(),
  };
}

describe('a model of the interface', () => {
  test('writes text, whatever its architecture', async () => {
    using model = bigrams([2, 0, 3, 1]);
    const steps = generate(model, [2, 0], { temperature: 0, maxTokens: 6 });
    const tokens: number[] = [];
    for await (const token of steps) tokens.push(token);
    expect(tokens).toEqual([2, 3, 1, 0, 2, 3]);
  });

  test('ends its text at a signal, and frees what it had', async () => {
    using model = bigrams([2, 0, 3, 1]);
    const controller = new AbortController();
    const { live } = device.memory();
    const tokens: number[] = [];
    const writing = async () => {
      for await (const token of generate(model, [2, 0], { temperature: 0, signal: controller.signal })) {
        tokens.push(token);
        if (tokens.length === 3) controller.abort(new Error('enough'));
      }
    };
    await expect(writing()).rejects.toThrow('enough');
    expect(tokens).toEqual([2, 3, 1]);
    expect(device.memory().live).toBe(live);
    await expect(generate(model, [0], { signal: AbortSignal.abort(new Error('late')) }).next()).rejects.toThrow('late');
  });

  test('is not begun with a signal that is none', () => {
    using model = bigrams([1, 0]);
    const signal = new AbortController() as unknown as AbortSignal;
    expect(() => generate(model, [0], { signal })).toThrow(
      new ArgumentError(
        "generate: signal must be an AbortSignal, such as an AbortController's signal, got AbortController",
      ),
    );
  });

  test('has as many positions as it says', async () => {
    using model = bigrams([1, 0]);
    expect(() => generate(model, Array<number>(17).fill(0))).toThrow('prompt must have 1 to 16 tokens, got 17');
    expect(() => model.createCache({ capacity: 17 })).toThrow(
      "bigrams: capacity must be an integer from 1 to the model's 16 positions, got 17",
    );
    let count = 0;
    for await (const _ of generate(model, Array<number>(15).fill(0), { temperature: 0 })) count++;
    expect(count).toBe(2);
  });
});

describe('readHuggingFaceModel', () => {
  const file = safetensorsFile(tinyWeights(TINY, 1), 'F32');

  test('finds the architecture in the table, and makes a model of it', async () => {
    const { architecture, checkpoint } = readHuggingFaceModel('test', tinyConfig(TINY), [file]);
    expect(architecture.name).toBe('Llama');
    using model = architecture.create(device, checkpoint, { maxLength: 8 });
    expect(model.maxLength).toBe(8);
    using cache = model.createCache();
    using ids = device.tensor(Uint32Array.of(1, 2), [1, 2]);
    using logits = model.forward(ids, cache);
    expect(logits.shape).toEqual([1, TINY.vocab]);
    expect((await logits.data()).every(Number.isFinite)).toBe(true);
  });

  test('names the call and what it knows', () => {
    const config = tinyConfig(TINY, { architectures: ['MambaForCausalLM'] });
    expect(() => readHuggingFaceModel('generate', config, [file])).toThrow(
      'generate: architectures in config.json must hold LlamaForCausalLM or MistralForCausalLM or',
    );
  });
});

test('joinNames puts the parts of a map in the order in which they come', () => {
  const names = ['a.q.weight', 'a.k.weight', 'a.out.weight', 'a.q.bias', 'a.k.bias', 'norm.weight'];
  expect([...joinNames(names, { qk: ['q', 'k'] })]).toEqual([
    ['a.qk.weight', ['a.q.weight', 'a.k.weight']],
    ['a.out.weight', ['a.out.weight']],
    ['a.qk.bias', ['a.q.bias', 'a.k.bias']],
    ['norm.weight', ['norm.weight']],
  ]);
});
