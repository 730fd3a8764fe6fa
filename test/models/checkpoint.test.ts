import { describe, expect, test } from 'vitest';
import { LoadError } from '../../src/index.ts';
import { readHuggingFaceLlama, readLlama2c } from '../../src/models.ts';
import { llama2cFile, safetensorsFile, TINY, tinyConfig, tinyWeights, type TinySizes } from './tiny-llama.ts';

const SQUARE: TinySizes = { ...TINY, dim: 32 };

describe("llama2.c's file", () => {
  test.each([true, false])('gives sizes and weights, classifier tied: %s', (tied) => {
    const sizes = { ...SQUARE, tied };
    const weights = tinyWeights(sizes, 1);
    const file = llama2cFile(sizes, weights);
    // in the middle of other bytes, and not aligned
    const shifted = new Uint8Array(file.length + 5).subarray(1, 1 + file.length);
    shifted.set(file);
    const checkpoint = readLlama2c(shifted);
    expect(checkpoint.config).toEqual({
      embedDim: 32,
      hiddenDim: 40,
      numLayers: 2,
      numHeads: 4,
      numKvHeads: 2,
      headDim: 8,
      vocabSize: 50,
      maxLength: 32,
      normEps: 1e-5,
      ropeBase: 10000,
      interleaved: true,
      tiesClassifier: tied,
    });
    expect(checkpoint.beginToken).toBe(1);
    expect(checkpoint.endTokens).toEqual([1, 2]);
    expect(Object.keys(checkpoint.weights).sort()).toEqual(Object.keys(weights).sort());
    for (const [name, { dtype, shape, data }] of Object.entries(checkpoint.weights)) {
      expect(dtype).toBe('F32');
      expect(shape).toEqual(weights[name].shape);
      expect(new Float32Array(data.slice().buffer)).toEqual(weights[name].data);
    }
  });

  const good = llama2cFile(SQUARE, tinyWeights(SQUARE, 1));
  const header = (...sizes: number[]): Uint8Array => {
    const bytes = good.slice();
    bytes.set(new Uint8Array(Int32Array.from(sizes).buffer));
    return bytes;
  };
  const beginning = (text: string): Uint8Array => Buffer.concat([Buffer.from(text, 'latin1'), good]);

  test.each<[string, Uint8Array, string]>([
    ['nothing', new Uint8Array(0), 'file must begin with 28 bytes of sizes, got 0 bytes'],
    ['a header cut off', good.subarray(0, 27), 'got 27 bytes'],
    [
      'the last byte missing',
      good.subarray(0, -1),
      `file must have ${good.length} bytes for dim 32, hidden 40, 2 layers, 4 heads, 2 key heads, vocab 50 and length 32, ` +
        `got ${good.length - 1} bytes, so it is cut off`,
    ],
    ['only a header', good.subarray(0, 28), 'got 28 bytes, so it is cut off'],
    ['a byte too many', Buffer.concat([good, Buffer.alloc(1)]), `got ${good.length + 1} bytes`],
    ['another vocabulary', header(32, 40, 2, 4, 2, -51, 32), `got ${good.length} bytes, so it is cut off`],
    ['text', beginning('Once upon a time, there was a'), 'file must begin with plausible sizes'],
    ['zeros', new Uint8Array(1000), 'got [0, 0, 0, 0, 0, 0, 0]'],
    ['a negative size', header(32, 40, 2, 4, -2, 50, 32), 'got [32, 40, 2, 4, -2, 50, 32]'],
    ['an absurd size', header(32, 40, 2 ** 30, 4, 2, 50, 32), 'plausible sizes'],
    ['more layers than there are names for', header(32, 40, 2 ** 22, 4, 2, 50, 32), 'plausible sizes'],
    ['heads that do not divide dim', header(32, 40, 2, 5, 1, 50, 32), 'plausible sizes'],
    ['key heads that do not divide heads', header(32, 40, 2, 4, 3, 50, 32), 'plausible sizes'],
    ['an odd head', header(12, 40, 2, 4, 2, 50, 32), 'plausible sizes'],
    ["llama2.c's later formats", beginning('24ka\x01\0\0\0'), 'got a llama2.c file of version 1 or 2'],
    ['GGUF', beginning('GGUF'), 'got a GGUF file'],
    ["PyTorch's", beginning('PK\x03\x04'), "got PyTorch's own format"],
  ])('%s is one sentence', (_name, file, message) => {
    expect(() => readLlama2c(file)).toThrow(LoadError);
    expect(() => readLlama2c(file)).toThrow(message);
    expect(() => readLlama2c(file)).toThrow(/^readLlama2c: [^\n]{1,250}$/);
  });
});

describe("Hugging Face's files", () => {
  const weights = tinyWeights(TINY, 2);
  const file = safetensorsFile(weights, 'BF16');

  test('give sizes, weights and tokens', () => {
    const { config, weights: read, beginToken, endTokens } = readHuggingFaceLlama(tinyConfig(TINY), [file]);
    expect(config).toEqual({
      embedDim: 24,
      hiddenDim: 40,
      numLayers: 2,
      numHeads: 4,
      numKvHeads: 2,
      headDim: 8,
      vocabSize: 50,
      maxLength: 32,
      normEps: 1e-5,
      ropeBase: 10000,
      ropeScaling: undefined,
      interleaved: false,
      tiesClassifier: false,
      attentionBias: false,
      feedForwardBias: false,
    });
    expect(Object.keys(read).sort()).toEqual(Object.keys(weights).sort());
    expect(read['lm_head.weight'].dtype).toBe('BF16');
    expect([beginToken, endTokens]).toEqual([1, [2]]);
  });

  test('may come in shards, with tables that nobody reads, and with a tied classifier that is there', () => {
    const entries = Object.entries(weights);
    const table = { shape: [4], data: new Float32Array(4) };
    const [first, second] = [entries.slice(0, 7), entries.slice(7)].map(Object.fromEntries);
    const shards = [first, { ...second, 'model.layers.0.self_attn.rotary_emb.inv_freq': table }];
    const config = tinyConfig({ ...TINY, tied: true });
    const checkpoint = readHuggingFaceLlama(
      config,
      shards.map((shard) => safetensorsFile(shard, 'F32')),
    );
    expect(checkpoint.config.tiesClassifier).toBe(true);
    expect(() => readHuggingFaceLlama(config, [file, file])).toThrow(
      "readHuggingFaceLlama: weight 'model.embed_tokens.weight' must be in one file, got it in two",
    );
  });

  test('have defaults, several end tokens, and rotary scaling in either place', () => {
    const { config, beginToken, endTokens } = readHuggingFaceLlama(
      tinyConfig(TINY, {
        bos_token_id: null,
        eos_token_id: [2, 7],
        rms_norm_eps: undefined,
        rope_theta: 500000,
        rope_scaling: {
          rope_type: 'llama3',
          factor: 8,
          low_freq_factor: 1,
          high_freq_factor: 4,
          original_max_position_embeddings: 8192,
        },
      }),
      [file],
    );
    expect([beginToken, endTokens]).toEqual([undefined, [2, 7]]);
    expect(config.normEps).toBe(1e-6);
    expect(config.ropeBase).toBe(500000);
    expect(config.ropeScaling).toEqual({
      type: 'llama3',
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxLength: 8192,
    });
    const later = readHuggingFaceLlama(
      tinyConfig(TINY, { rope_parameters: { rope_theta: 1000, rope_type: 'linear', factor: 2 } }),
      [file],
    );
    expect(later.config.ropeBase).toBe(1000);
    expect(later.config.ropeScaling).toEqual({ type: 'linear', factor: 2 });
    const old = readHuggingFaceLlama(tinyConfig(TINY, { rope_scaling: { type: 'default' } }), [file]);
    expect(old.config.ropeScaling).toBeUndefined();
  });

  test.each<[string, object | string, string]>([
    ['no JSON', '{"hidden_size": 24', 'config.json must be JSON, got other text'],
    ['no object', '[1]', 'config.json must hold an object, got another value'],
    [
      'another architecture',
      { architectures: ['GPT2LMHeadModel'] },
      'architectures in config.json must hold LlamaForCausalLM, got ["GPT2LMHeadModel"]',
    ],
    ['another model', { model_type: 'mistral' }, 'model_type in config.json must be "llama", got "mistral"'],
    ['another activation', { hidden_act: 'gelu' }, 'hidden_act in config.json must be "silu" or "swish", got "gelu"'],
    ['quantised weights', { quantization_config: { bits: 4 } }, 'quantization_config in config.json must be absent'],
    [
      'half of each head rotated',
      { partial_rotary_factor: 0.5 },
      'partial_rotary_factor in config.json must be 1, got 0.5',
    ],
    ['no size', { hidden_size: undefined }, 'hidden_size in config.json must be a positive integer, got nothing'],
    ['a fraction', { num_hidden_layers: 1.5 }, 'num_hidden_layers in config.json must be a positive integer, got 1.5'],
    ['1e9 layers', { num_hidden_layers: 1e9 }, 'num_hidden_layers in config.json must be at most 4096, got 1000000000'],
    ['no head', { num_attention_heads: 0 }, 'num_attention_heads in config.json must be a positive integer, got 0'],
    ['an odd head', { head_dim: 7 }, 'head_dim in config.json must be even, got 7'],
    ['odd key heads', { num_key_value_heads: 3 }, 'num_key_value_heads in config.json must divide the 4 heads, got 3'],
    ['a word for a flag', { mlp_bias: 'no' }, 'mlp_bias in config.json must be true or false, got "no"'],
    [
      'unknown scaling',
      { rope_scaling: { rope_type: 'dynamic', factor: 2 } },
      'rope_type in config.json\'s rope_scaling must be default, linear, llama3 or yarn, got "dynamic"',
    ],
    [
      'half of a scaling',
      { rope_scaling: { type: 'llama3', factor: 2 } },
      "low_freq_factor in config.json's rope_scaling must be a positive number, got nothing",
    ],
    ['scaling that is a number', { rope_scaling: 2 }, 'rope_scaling in config.json must be an object, got 2'],
    [
      'more layers than weights',
      { num_hidden_layers: 3 },
      "weights must fit the model's sizes: 'model.layers.2.input_layernorm.weight' is missing; " +
        "'model.layers.2.post_attention_layernorm.weight' is missing",
    ],
    ['fewer layers', { num_hidden_layers: 1 }, "'model.layers.1.input_layernorm.weight' is unexpected"],
    ['another width', { hidden_size: 32 }, "'model.embed_tokens.weight' must have shape [50, 32], got [50, 24]"],
    ['biases that are not there', { attention_bias: true }, "'model.layers.0.self_attn.q_proj.bias' is missing"],
  ])('%s: one sentence', (_name, change, message) => {
    const config = typeof change === 'string' ? change : tinyConfig(TINY, change);
    const read = (): unknown => readHuggingFaceLlama(config, [file]);
    expect(read).toThrow(LoadError);
    expect(read).toThrow(message);
    expect(read).toThrow(/^readHuggingFaceLlama: [^\n]{1,400}$/);
  });

  test('the first weights that are missing, unexpected or of another kind are reported together', () => {
    const { 'model.norm.weight': _, ...rest } = weights;
    const wrong = { ...rest, 'model.layers.0.self_attn.q_norm.weight': { shape: [8], data: new Float32Array(8) } };
    expect(() => readHuggingFaceLlama(tinyConfig(TINY), [safetensorsFile(wrong, 'F16')])).toThrow(
      new LoadError(
        "readHuggingFaceLlama: weights must fit the model's sizes: 'model.norm.weight' is missing; " +
          "'model.layers.0.self_attn.q_norm.weight' is unexpected",
      ),
    );
    expect(() => readHuggingFaceLlama(tinyConfig(TINY), [])).toThrow(/; and \d+ more$/);
    const header = JSON.stringify({ 'lm_head.weight': { dtype: 'I32', shape: [1], data_offsets: [0, 4] } });
    const integers = new Uint8Array(8 + header.length + 4);
    new DataView(integers.buffer).setBigUint64(0, BigInt(header.length), true);
    integers.set(new TextEncoder().encode(header), 8);
    const { 'lm_head.weight': __, ...others } = weights;
    expect(() => readHuggingFaceLlama(tinyConfig(TINY), [safetensorsFile(others, 'F32'), integers])).toThrow(
      "'lm_head.weight' must be F32, F16 or BF16, got I32",
    );
  });

  test('the safetensors reader reports a file that is not safetensors', () => {
    expect(() => readHuggingFaceLlama(tinyConfig(TINY), [file.subarray(0, -1)])).toThrow(LoadError);
    expect(() => readHuggingFaceLlama(tinyConfig(TINY), [new Uint8Array(3)])).toThrow(/^loadSafetensors: /);
  });
});
