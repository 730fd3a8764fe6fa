/**
 * Networks as Hugging Face's transformers have them, against its numbers in float64: hidden states, logits, and the texts that
 * are written greedily. The committed models are the smallest (test/fixtures/generate-models.py). The conformance folder has
 * sixteen larger ones as transformers save them, which are not part of the project.
 */
import { afterAll, describe, expect, test, vi } from 'vitest';
import { elementsOf, parseSafetensors, type SafetensorsEntry } from '../../src/io/safetensors.ts';
import { ArgumentError, LoadError, type Device, type Shape, type Tensor } from '../../src/index.ts';
import { generate, loadModel, type LanguageModel, type ModelFiles, type ModelKind } from '../../src/models.ts';
import { testDevice, triesEveryKernel } from '../device.ts';
import { narrow } from '../matrix/narrow.ts';
import { readFile } from '../read-file.ts';
import { joinEntries } from './safetensors-file.ts';

const FOLDER_VARIABLE = 'WEBGPU_ATTENTION_CONFORMANCE';
const folder = import.meta.env[FOLDER_VARIABLE] as string | undefined;

/** Largest errors, in proportion to the largest absolute value. docs/reference/models.md states those of float16. */
const BOUND = { float32: 2e-5, float16: 1.2e-2 };
type Float = keyof typeof BOUND;
const DTYPES = narrow<Float>(['float32'], ['float32', 'float16']);

const device: Device = await testDevice();
const isBroad = await triesEveryKernel();
const liveBefore = device.memory().live;
afterAll(() => expect(device.memory().live).toBe(liveBefore));

interface Golden {
  readonly shape: Shape;
  readonly data: Float32Array | Int32Array;
}

/** What a model should make of what: `ids`, `mask`, `targets` or `pixels` → `hidden` or `logits`, and `text`. */
type Goldens = Readonly<Record<string, Golden>>;

interface GoldenModel {
  readonly name: string;
  readonly kind: ModelKind;
  readonly files: ModelFiles;
  readonly read: () => Promise<Goldens> | Goldens;
}

const goldens = (tensors: Readonly<Record<string, SafetensorsEntry>>): Goldens =>
  Object.fromEntries(
    Object.entries(tensors).map(([key, { dtype, shape, data }]) => [
      key,
      { shape, data: elementsOf(dtype, data) as Float32Array },
    ]),
  );

const fixture = parseSafetensors(await readFile('fixtures/models.safetensors'));
const committed = (
  JSON.parse(fixture.metadata['cases']) as {
    name: string;
    kind: ModelKind;
    config: object;
    weights: readonly string[];
  }[]
).map(({ name, kind, config, weights }): GoldenModel => {
  const entriesOf = (prefix: string, names: readonly string[]) =>
    Object.fromEntries(names.map((key) => [key, fixture.tensors[`${prefix}${key}`]]));
  const prefix = `${name}/golden/`;
  const names = Object.keys(fixture.tensors).flatMap((key) =>
    key.startsWith(prefix) ? [key.slice(prefix.length)] : [],
  );
  return {
    name,
    kind,
    files: {
      'config.json': new TextEncoder().encode(JSON.stringify(config)),
      'model.safetensors': joinEntries(entriesOf(`${name}/`, weights)),
    },
    read: () => goldens(entriesOf(prefix, names)),
  };
});

const SHARED: Readonly<Record<ModelKind, readonly string[]>> = {
  decoder: [
    'llama',
    'llama3-rope',
    'mistral',
    'qwen2',
    'qwen3',
    'gemma2',
    'gemma3',
    'phi3',
    'olmo2',
    'smollm3',
    'gpt2',
  ],
  encoder: ['bert', 'modernbert'],
  'image-encoder': ['vit'],
  'encoder-decoder': ['t5', 'bart'],
};
/** What the folder calls its tensors. */
const SHARED_NAMES: Readonly<Record<string, string>> = {
  input_ids: 'ids',
  attention_mask: 'mask',
  decoder_input_ids: 'targets',
  pixel_values: 'pixels',
  greedy: 'text',
};

const shared = Object.entries(SHARED).flatMap(([kind, names]) =>
  names.map((name): GoldenModel => ({
    name,
    kind: kind as ModelKind,
    files: (file) => (file.includes('index') ? undefined : readFile(`${folder}hf/${name}/${file}`)),
    read: async () => {
      const { tensors } = parseSafetensors(await readFile(`${folder}hf/${name}/golden.safetensors`));
      const named = Object.entries(goldens(tensors)).map(
        ([key, golden]) => [SHARED_NAMES[key] ?? key, golden] as const,
      );
      return Object.fromEntries(named);
    },
  })),
);

/** The error of rows that are no padding, in proportion to the largest absolute value. */
async function errorOf(actual: Tensor, golden: Golden, isReal: (row: number) => boolean = () => true): Promise<number> {
  expect(actual.shape).toEqual(golden.shape);
  const values = await actual.data();
  const width = golden.shape.at(-1)!;
  let [worst, largest] = [0, 0];
  golden.data.forEach((expected, at) => {
    if (!isReal(Math.floor(at / width))) return;
    const error = Math.abs(values[at] - expected);
    worst = Number.isNaN(error) ? Infinity : Math.max(worst, error);
    largest = Math.max(largest, Math.abs(expected));
  });
  return worst / largest;
}

const upload = ({ shape, data }: Golden, dtype: Float = 'float32'): Tensor =>
  device.tensor(data, shape, data instanceof Float32Array ? { dtype } : {});
const rowsOf = ({ shape: [rows, columns], data }: Golden): number[][] =>
  Array.from({ length: rows }, (_, row) => [...data.subarray(row * columns, (row + 1) * columns)]);

async function greedy(model: LanguageModel, prompt: readonly number[], count: number): Promise<number[]> {
  const tokens: number[] = [];
  for await (const token of generate(model, prompt, { temperature: 0, maxTokens: count })) tokens.push(token);
  return tokens;
}

/** Largest difference from the logits that whole texts have, from a cache in which they grow. */
async function expectLanguageModel(model: LanguageModel, ids: Golden, logits: Golden, dtype: Float): Promise<void> {
  using cache = model.createCache({ batch: ids.shape[0], capacity: ids.shape[1] });
  using all = device.scope(() => model.forward(upload(ids), cache, { logits: 'all' }));
  expect(await errorOf(all, logits)).toBeLessThan(BOUND[dtype]);
}

async function expectGolden({ kind, files, read }: GoldenModel, dtype: Float): Promise<void> {
  const { ids, mask, targets, pixels, hidden, logits, text } = await read();
  const isReal = mask && ((row: number) => mask.data[row] === 1);
  const loaded = await loadModel(device, files, { kind, dtype });
  using model = loaded.model;
  switch (loaded.kind) {
    case 'decoder': {
      await expectLanguageModel(loaded.model, ids, logits, dtype);
      if (dtype === 'float16') break;
      expect(await greedy(loaded.model, rowsOf(ids)[0], text.data.length)).toEqual([...text.data]);
      break;
    }
    case 'encoder': {
      using output = device.scope(() => loaded.model.forward(upload(ids), { attentionMask: rowsOf(mask) }));
      expect(await errorOf(output, hidden, isReal)).toBeLessThan(BOUND[dtype]);
      break;
    }
    case 'image-encoder': {
      using output = device.scope(() => loaded.model.forward(upload(pixels, dtype)));
      expect(await errorOf(output, hidden)).toBeLessThan(BOUND[dtype]);
      break;
    }
    case 'encoder-decoder': {
      using source = device.scope(() => loaded.model.encode(upload(ids), { attentionMask: rowsOf(mask) }));
      await expectLanguageModel(source, targets, logits, dtype);
      if (dtype === 'float16') break;
      const [first] = rowsOf(ids);
      using one = device.scope(() => loaded.model.encode(device.tensor(Int32Array.from(first), [1, first.length])));
      expect(await greedy(one, [loaded.model.startToken], text.data.length)).toEqual([...text.data]);
    }
  }
  expect(model.dtype).toBe(dtype);
}

describe.each(DTYPES)('%s', (dtype) => {
  // on SwiftShader those that need few kernels that other tests do not compile
  const few = committed.filter(({ name }) => ['llama', 'qwen3', 'bert', 't5'].includes(name));
  test.each(isBroad ? committed : few)('$name', (model) => expectGolden(model, dtype));

  if (folder) {
    test.each(isBroad ? shared : [])('$name of the conformance folder', (model) => expectGolden(model, dtype));
  } else {
    const reason = `skipped: no conformance folder (${FOLDER_VARIABLE} names one)`;
    console.warn(`models of the conformance folder ${reason}`);
    test('models of the conformance folder', (context) => context.skip(reason));
  }
});

describe('loadModel', () => {
  const [llama] = committed;
  const files = llama.files as Record<string, Uint8Array>;
  const configWith = (changes: object) => ({
    ...files,
    'config.json': new TextEncoder().encode(
      JSON.stringify({ ...(JSON.parse(new TextDecoder().decode(files['config.json'])) as object), ...changes }),
    ),
  });

  test('reads shards that an index names', async () => {
    const entries = Object.entries(parseSafetensors(files['model.safetensors']).tensors);
    const half = Math.floor(entries.length / 2);
    const [first, second] = [entries.slice(0, half), entries.slice(half)].map((part) =>
      joinEntries(Object.fromEntries(part)),
    );
    const map = Object.fromEntries(entries.map(([name], i) => [name, i < half ? 'a.safetensors' : 'b.safetensors']));
    const index = new TextEncoder().encode(JSON.stringify({ weight_map: map }));
    const source = {
      'config.json': files['config.json'],
      'model.safetensors.index.json': index,
      'a.safetensors': first,
      'b.safetensors': second,
    };
    const { kind, model, beginToken, endTokens } = await loadModel(device, source);
    expect({ kind, beginToken, endTokens }).toEqual({ kind: 'decoder', beginToken: 1, endTokens: [] });
    model.dispose();
    const { 'b.safetensors': _, ...lacking } = source;
    await expect(loadModel(device, lacking)).rejects.toThrow(
      "loadModel: source must have the files of model.safetensors.index.json: 'b.safetensors' is missing",
    );
    const escaping = new TextEncoder().encode(JSON.stringify({ weight_map: { x: '../a.safetensors' } }));
    await expect(loadModel(device, { ...source, 'model.safetensors.index.json': escaping })).rejects.toThrow(LoadError);
  });

  test.each<[message: string, error: new (message: string) => Error, source: unknown, options?: object]>([
    ['loadModel: source must have config.json, got none', LoadError, {}],
    [
      'loadModel: source must have model.safetensors or model.safetensors.index.json, got neither',
      LoadError,
      { 'config.json': files['config.json'] },
    ],
    [
      "loadModel: source must be a model of the kind 'encoder', got Llama, 'decoder'",
      LoadError,
      files,
      { kind: 'encoder' },
    ],
    ["loadModel: kind must be 'decoder' or 'encoder' or", ArgumentError, files, { kind: 'model' }],
    ['loadModel: source must be a folder, or files by name, got undefined', ArgumentError, undefined],
    [
      'loadModel: architectures in config.json must hold LlamaForCausalLM or MistralForCausalLM or',
      LoadError,
      configWith({ architectures: ['MambaForCausalLM'] }),
    ],
    [
      'loadModel: hidden_act in config.json must be "silu" or "swish", got "gelu"',
      LoadError,
      configWith({ hidden_act: 'gelu' }),
    ],
    ['loadModel: weights must fit the model', LoadError, configWith({ intermediate_size: 24 })],
    ['loadModel: config.json must be JSON, got other text', LoadError, { ...files, 'config.json': Uint8Array.of(1) }],
  ])('%s', async (message, error, source, options) => {
    const loading = loadModel(device, source as ModelFiles, options);
    await expect(loading).rejects.toThrow(error);
    await expect(loading).rejects.toThrow(message);
  });

  test('frees every weight if one cannot be uploaded, or what follows cannot be made', async () => {
    const make = device.tensor.bind(device);
    for (const { files: each } of committed) {
      const before = device.memory().live;
      /** Loads a model if so many tensors can be made, and says how many were. */
      const loadWith = async (room: number): Promise<number> => {
        let made = 0;
        const spy = vi.spyOn(device, 'tensor').mockImplementation((...given: Parameters<typeof make>) => {
          if (made === room) throw new Error('no room');
          made++;
          return make(...given);
        });
        try {
          (await loadModel(device, each)).model.dispose();
        } finally {
          spy.mockRestore();
        }
        return made;
      };
      const all = await loadWith(Infinity);
      for (const room of [2, all - 1]) await expect(loadWith(room)).rejects.toThrow('no room');
      expect(device.memory().live).toBe(before);
    }
  });

  test('knows the names that files of other classes have', async () => {
    const renamed = (name: string, class_: string, rename: (weight: string) => string, more: string[] = []) => {
      const { files: given, ...model } = committed.find((each) => each.name === name)!;
      const source = given as Record<string, Uint8Array>;
      const { tensors } = parseSafetensors(source['model.safetensors']);
      const entries = Object.entries(tensors).map(([weight, entry]) => [rename(weight), entry] as const);
      const heads = more.map((weight) => [weight, entries[0][1]] as const);
      const config = {
        ...(JSON.parse(new TextDecoder().decode(source['config.json'])) as object),
        architectures: [class_],
      };
      return {
        ...model,
        files: {
          'config.json': new TextEncoder().encode(JSON.stringify(config)),
          'model.safetensors': joinEntries(Object.fromEntries([...entries, ...heads])),
        },
      };
    };
    const bert = renamed('bert', 'BertForMaskedLM', (weight) => `bert.${weight}`, ['cls.predictions.bias']);
    await expectGolden(bert, 'float32');
    const gpt2 = renamed('gpt2', 'GPT2LMHeadModel', (weight) => weight.replace('transformer.', ''));
    using model = (await loadModel(device, gpt2.files)).model;
    expect(model.config.embedDim).toBe(16);
  });

  test('models refuse what does not fit, in one sentence', async () => {
    const load = (name: string) => loadModel(device, committed.find((each) => each.name === name)!.files);
    const [bert, vit, t5] = await Promise.all([load('bert'), load('vit'), load('t5')]);
    device.scope(() => {
      const ids = device.tensor(Int32Array.of(3, 4), [1, 2]);
      if (bert.kind !== 'encoder' || vit.kind !== 'image-encoder' || t5.kind !== 'encoder-decoder') throw new Error();
      expect(() => bert.model.forward(ids, { attentionMask: [[1]] })).toThrow(
        'BERT.forward: attentionMask must be 1 rows of 2 numbers that are 0 or 1, or a bool tensor [1, 2], got',
      );
      const types = device.tensor(Int32Array.of(0), [1, 1]);
      expect(() => bert.model.forward(ids, { tokenTypes: types } as object)).toThrow(
        "BERT.forward: tokenTypes must have ids' shape [1, 2], got [1, 1]",
      );
      expect(() => bert.model.forward(ids.reshape([2]))).toThrow(
        'BERT.forward: ids must be [batch, length] with at most 32 tokens, got [2]',
      );
      expect(() => vit.model.forward(device.zeros([1, 3, 4, 4]))).toThrow(
        'ViT.forward: pixels must be [batch, 3, 8, 8], got [1, 3, 4, 4]',
      );
      const source = t5.model.encode(ids);
      expect(() => source.createCache({ batch: 2 })).toThrow(
        'T5.createCache: batch must be the 1 of the texts that were read, got 2',
      );
      source.dispose();
    });
    for (const { model } of [bert, vit, t5]) model.dispose();
  });
});
