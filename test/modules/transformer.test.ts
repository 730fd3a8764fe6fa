/** Torch's Transformer layers and stacks against its own numbers, and decoding step by step against the whole. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ArgumentError,
  CrossAttention,
  type Device,
  keyMaskFromTorch,
  KeyValueCache,
  LocalAttention,
  maskFromTorch,
  type Module,
  MultiHeadAttention,
  noGrad,
  PagedKeyValueCache,
  SelfAttention,
  sum,
  type Tensor,
  TransformerDecoder,
  TransformerDecoderLayer,
  TransformerEncoder,
  TransformerEncoderLayer,
  multiply,
} from '../../src/index.ts';
import { elementsOf, parseSafetensors } from '../../src/io/safetensors.ts';
import { testDevice, triesEveryKernel } from '../device.ts';
import { narrow } from '../matrix/narrow.ts';
import { readFile } from '../read-file.ts';
import { expectClose } from '../reference/compare.ts';
import { tolerances } from '../reference/tolerances.ts';

const { metadata, tensors } = parseSafetensors(await readFile('fixtures/transformer.safetensors'));

interface Case {
  readonly name: string;
  readonly kind: 'TransformerEncoderLayer' | 'TransformerEncoder' | 'TransformerDecoderLayer' | 'TransformerDecoder';
  readonly options: Record<string, unknown>;
  readonly tensors: readonly string[];
}
const cases = JSON.parse(metadata['cases']) as Case[];
const MODULES = { TransformerEncoderLayer, TransformerEncoder, TransformerDecoderLayer, TransformerDecoder };
const SIZES = { dModel: 8, nhead: 2, dimFeedforward: 12, dropout: 0 };

const isBroad = await triesEveryKernel();

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const valuesOf = (c: Case, name: string) => {
  const { dtype, data } = tensors[`${c.name}/${name}`];
  return elementsOf(dtype, data);
};

function tensorOf(c: Case, name: string, requiresGrad = false): Tensor {
  const { shape } = tensors[`${c.name}/${name}`];
  return device.tensor(valuesOf(c, name) as Float32Array, shape, { requiresGrad });
}

function load(c: Case): Module & { forward(x: Tensor, ...rest: unknown[]): Tensor } {
  const module = new MODULES[c.kind](device, { ...SIZES, ...c.options } as never);
  const names = c.tensors.filter((name) => name.startsWith('state/'));
  device.scope(() => {
    // under torch's names, in torch's order
    const state = Object.fromEntries(names.map((name) => [name.slice('state/'.length), tensorOf(c, name)]));
    expect(Object.keys(module.stateDict())).toEqual(Object.keys(state));
    module.loadStateDict(state);
  });
  return module;
}

/** The masks of a case as PyTorch has them, through our converters. */
function masksOf(c: Case): Record<string, Tensor> {
  const bool = (name: string) =>
    device.tensor(Uint8Array.from(valuesOf(c, name)), tensors[`${c.name}/${name}`].shape) as Tensor;
  const names = c.tensors.filter((name) => /mask/i.test(name) && !name.includes('/'));
  return Object.fromEntries(
    names.map((name) => [
      name,
      /key/i.test(name) ? keyMaskFromTorch(bool(name)) : maskFromTorch(bool(name), SIZES.nhead),
    ]),
  );
}

describe('PyTorch’s numbers', () => {
  test.each(
    narrow(
      cases.filter(({ kind }) => kind !== 'TransformerDecoder'),
      cases,
    ),
  )('$name', async (c) => {
    using module = load(c);
    const results = device.scope(() => {
      const inputs = (c.kind.includes('Encoder') ? ['src'] : ['tgt', 'memory']).map((name) => tensorOf(c, name, true));
      const masks = masksOf(c);
      const [x, ...rest] = inputs;
      const out = module.forward(x, ...rest, masks);
      sum(multiply(out, tensorOf(c, 'dout'))).backward();
      const named = module.namedParameters();
      const leaves = c.tensors.flatMap((name) => {
        if (!name.startsWith('d/')) return [];
        const key = name.slice(2);
        const input = inputs[['src', 'tgt'].includes(key) ? 0 : key === 'memory' ? 1 : 2];
        return [[name, (input ?? named[key]).grad!.reshape([-1])] as const];
      });
      return { out, gradients: leaves };
    });
    expectClose(await results.out.data(), valuesOf(c, 'out'), tolerances.float32.module, 'out');
    expect(results.gradients.length).toBeGreaterThan(3);
    for (const [name, gradient] of results.gradients) {
      expectClose(await gradient.data(), valuesOf(c, name), GRADIENT, name);
      gradient.dispose();
    }
    results.out.dispose();
  });
});

const GRADIENT = { atol: 2e-4, rtol: 2e-4 };

describe('options', () => {
  test('are torch’s, and what they are is printed', () => {
    using layer = new TransformerEncoderLayer(device, { ...SIZES, activation: 'gelu', normFirst: true, seed: 1 });
    expect(String(layer).split('\n')[1]).toBe(
      "  dModel=8, nhead=2, dimFeedforward=12, activation='gelu', normFirst=true",
    );
    using encoder = new TransformerEncoder(device, { ...SIZES, numLayers: 3, norm: true });
    expect(encoder.layers.length).toBe(3);
    expect(encoder.numParameters).toBe(3 * layer.numParameters + 16);
    expect(String(encoder)).toContain('(0-2): 3 × TransformerEncoderLayer(');
    expect(Object.keys(encoder.stateDict()).at(-1)).toBe('norm.bias');
  });

  test('differ by layer in the initial weights, and repeat with a seed', async () => {
    using one = new TransformerEncoder(device, { ...SIZES, numLayers: 2, seed: 9 });
    using other = new TransformerEncoder(device, { ...SIZES, numLayers: 2, seed: 9 });
    const weight = (module: Module, name: string) => module.getParameter(name).data();
    const first = await weight(one, 'layers.0.linear1.weight');
    expect(await weight(other, 'layers.0.linear1.weight')).toEqual(first);
    expect(await weight(one, 'layers.1.linear1.weight')).not.toEqual(first);
  });

  test('leave the device’s seeds to the modules, so that one after another starts differently', async () => {
    const before = device.seed;
    using encoder = new TransformerEncoder(device, { ...SIZES, numLayers: 2 });
    expect(device.seed - before).toBe(6); // attention and two maps of each layer
    expect(encoder.layers.length).toBe(2);
  });

  test('drop in training mode only: all that is added, with a probability of 1', async () => {
    using layer = new TransformerEncoderLayer(device, { ...SIZES, dropout: 1, normFirst: true });
    using x = device.randn([1, 3, 8], { seed: 1 });
    using trained = layer.forward(x);
    expect(await trained.data()).toEqual(await x.data());
    layer.eval();
    using evaluated = layer.forward(x);
    expect(await evaluated.data()).not.toEqual(await x.data());
  });

  test('take an activation of the user’s, with its gradient', async () => {
    using layer = new TransformerEncoderLayer(device, {
      ...SIZES,
      normFirst: true,
      activation: (x) => multiply(x, device.zeros([1])),
    });
    using x = device.randn([1, 3, 8], { seed: 1 });
    device.scope(() => sum(layer.forward(x)).backward());
    expect((await layer.getParameter('linear1.weight').grad!.data()).every((value) => value === 0)).toBe(true);
  });

  test.each<[message: string, attempt: () => unknown]>([
    ['TransformerEncoderLayer: nhead must divide dModel 8, got 3', () => layerOf({ nhead: 3 })],
    [
      "TransformerEncoderLayer: activation must be 'relu', 'gelu' or a function, got 'tanh'",
      () => layerOf({ activation: 'tanh' }),
    ],
    ['TransformerEncoderLayer: dropout must be a number from 0 to 1, got 2', () => layerOf({ dropout: 2 })],
    [
      "TransformerEncoderLayer: unknown option 'batchFirst'; inputs are always [batch, length, dim]",
      () => layerOf({ batchFirst: true }),
    ],
    [
      'TransformerEncoder: numLayers must be a positive integer, got 0',
      () => new TransformerEncoder(device, { ...SIZES, numLayers: 0 }),
    ],
    [
      'TransformerEncoderLayer: src must be [batch, length, 8], got [2, 8]',
      () => layerOf({}, (layer) => layer.forward(device.zeros([2, 8]))),
    ],
    [
      "TransformerEncoderLayer.forward: unknown option 'srcKeyPaddingMask'; use 'keyMask', where true = may attend (keyMaskFromTorch converts a key_padding_mask, where true = padding)",
      () => layerOf({}, (layer) => layer.forward(device.zeros([1, 2, 8]), { srcKeyPaddingMask: 1 } as never)),
    ],
  ])('%s', (message, attempt) => {
    expect(() => device.scope(() => void attempt())).toThrow(ArgumentError);
    expect(() => device.scope(() => void attempt())).toThrow(message);
  });

  test('of a decoder name what its masks mean', () => {
    using layer = new TransformerDecoderLayer(device, SIZES);
    device.scope(() => {
      const x = device.zeros([1, 2, 8]);
      expect(() => layer.forward(x, x, { tgtKeyPaddingMask: x } as never)).toThrow(
        "unknown option 'tgtKeyPaddingMask'; use 'tgtKeyMask', where true = may attend (keyMaskFromTorch converts",
      );
      expect(() => layer.forward(x, x, { tgtMasks: x } as never)).toThrow("did you mean 'tgtMask', where true =");
      expect(() => layer.forward(x, undefined as never)).toThrow(
        'TransformerDecoderLayer: memory must be a Tensor, got undefined',
      );
      expect(() => layer.forward(x, x.reshape([2, 8]))).toThrow(
        'TransformerDecoderLayer: memory must be [batch, length, 8], got [2, 8]',
      );
    });
  });

  function layerOf(options: object, use?: (layer: TransformerEncoderLayer) => unknown): void {
    using layer = new TransformerEncoderLayer(device, { ...SIZES, ...options });
    use?.(layer);
  }
});

describe('a cache', () => {
  const CACHE = { batch: 2, numKvHeads: 2, headDim: 4, capacity: 8 };
  const LENGTH = 6;

  /** The outputs of calls for parts of x, side by side. */
  async function inParts(x: Tensor, lengths: readonly number[], step: (part: Tensor) => Tensor): Promise<Float32Array> {
    const [batch, length, width] = x.shape;
    const all = new Float32Array(batch * length * width);
    let from = 0;
    for (const count of lengths) {
      const output = noGrad(() => device.scope(() => step(x.slice(1, from, from + count))));
      const data = await output.data();
      for (let b = 0; b < batch; b++) {
        all.set(data.subarray(b * count * width, (b + 1) * count * width), (b * length + from) * width);
      }
      from += count;
      output.dispose();
    }
    return all;
  }

  test.each<
    [
      name: string,
      make: () => Module,
      forward: (module: never, x: Tensor, options: { isCausal?: boolean; cache?: KeyValueCache }) => Tensor,
    ]
  >([
    [
      'SelfAttention',
      () => new SelfAttention(device, { embedDim: 8, numHeads: 2 }),
      (module: SelfAttention, x, options) => module.forward(x, options).output,
    ],
    [
      'LocalAttention',
      () => new LocalAttention(device, { embedDim: 8, numHeads: 2, windowSize: 4 }),
      (module: LocalAttention, x, options) => module.forward(x, options).output,
    ],
    [
      'MultiHeadAttention',
      () => new MultiHeadAttention(device, { embedDim: 8, numHeads: 2 }),
      (module: MultiHeadAttention, x, options) => module.forward(x, x, x, options).output,
    ],
  ])('gives %s step by step what the whole gives', async (_name, make, forward) => {
    using module = make();
    using x = device.randn([2, LENGTH, 8], { seed: 3 });
    using whole = noGrad(() => forward(module as never, x, { isCausal: true }));
    using cache = new KeyValueCache(device, CACHE);
    const parts = await inParts(x, [3, 1, 1, 1], (part) => forward(module as never, part, { cache }));
    expect(cache.length).toBe(LENGTH);
    expectClose(parts, await whole.data(), tolerances.float32.module, 'outputs');
  });

  test.runIf(isBroad)('may be of pages, through the interface', async () => {
    using module = new SelfAttention(device, { embedDim: 8, numHeads: 2 });
    using x = device.randn([1, LENGTH, 8], { seed: 3 });
    using whole = noGrad(() => module.forward(x, { isCausal: true }).output);
    using pages = new PagedKeyValueCache(device, { numPages: 4, pageSize: 4, numKvHeads: 2, headDim: 4 });
    const id = pages.add();
    const cache = {
      lengthAfter: (count: number) => pages.length(id) + count,
      append: (k: Tensor, v: Tensor) => pages.append([id], k, v),
      attend: (q: Tensor, options: object) => pages.attend([id], q, options),
    };
    const parts = await inParts(x, [4, 2], (part) => module.forward(part, { cache }).output);
    expectClose(parts, await whole.data(), tolerances.float32.module, 'outputs');
  });

  test.runIf(isBroad)('takes masks over the keys that it holds, and is as before when one does not fit', async () => {
    using module = new SelfAttention(device, { embedDim: 8, numHeads: 2 });
    using x = device.randn([2, LENGTH, 8], { seed: 3 });
    using cache = new KeyValueCache(device, CACHE);
    using keyMask = device.tensor(
      Uint8Array.from({ length: 2 * LENGTH }, (_, i) => Number(i % LENGTH !== 1)),
      [2, LENGTH],
    );
    using whole = noGrad(() => module.forward(x, { isCausal: true, keyMask }).output);
    let from = 0;
    const parts = await inParts(x, [2, 4], (part) => {
      from += part.shape[1];
      return module.forward(part, { cache, keyMask: keyMask.slice(1, 0, from) }).output;
    });
    expectClose(parts, await whole.data(), tolerances.float32.module, 'outputs');
    device.scope(() => {
      const next = x.slice(1, 0, 1);
      expect(() => module.forward(next, { cache, keyMask })).toThrow(ArgumentError);
    });
    expect(cache.length).toBe(LENGTH);
  });

  test('is refused where it cannot be right', () => {
    using module = new SelfAttention(device, { embedDim: 8, numHeads: 2, dropoutP: 0.5 });
    using appending = new MultiHeadAttention(device, { embedDim: 8, numHeads: 2, addBiasKv: true });
    using cache = new KeyValueCache(device, CACHE);
    device.scope(() => {
      const x = device.zeros([2, 1, 8]);
      const call = (options: object) => () => module.forward(x, options);
      expect(call({ cache })).toThrow(
        'SelfAttention: cache must come in evaluation mode with dropoutP 0.5, got training mode',
      );
      module.eval();
      expect(call({ cache, needWeights: true })).toThrow(
        'SelfAttention: needWeights must be false with a cache, got true',
      );
      expect(call({ cache, isCausal: 'top-left' })).toThrow(
        "SelfAttention: isCausal must be true, false or 'bottom-right' with a cache, got 'top-left'",
      );
      expect(call({ cache: {} })).toThrow('SelfAttention: cache must be a KeyValueCache, got Object');
      expect(() => appending.forward(x, x, x, { cache })).toThrow('cache must not come with addBiasKv or addZeroAttn');
      expect(cache.length).toBe(0);
      const { output } = module.forward(x, { cache });
      expect(() => sum(output).backward()).toThrow(/those of a cache/);
    });
  });

  test('of a context holds its keys and values, projected once', async () => {
    using module = new CrossAttention(device, { embedDim: 8, numHeads: 2, kvDim: 6 });
    using x = device.randn([2, 3, 8], { seed: 1 });
    using context = device.randn([2, 5, 6], { seed: 2 });
    using projected = module.projectContext(context);
    const [whole, once] = [context, projected].map((each) => noGrad(() => module.forward(x, each).output));
    expect(await once.data()).toEqual(await whole.data());
    whole.dispose();
    once.dispose();
    using other = new CrossAttention(device, { embedDim: 8, numHeads: 2, kvDim: 6 });
    expect(() => other.forward(x, projected)).toThrow(
      "CrossAttention: context must be of this module's projectContext, got another module's",
    );
    using one = device.zeros([1, 3, 8]);
    expect(() => module.forward(one, projected)).toThrow("context must have x's batch 1, got [2, 2, 5, 4]");
    projected.dispose();
    expect(() => module.forward(x, projected)).toThrow('got one that is disposed');
  });

  test('of a decoder gives step by step what the whole gives', async () => {
    using decoder = new TransformerDecoder(device, { ...SIZES, numLayers: 2, norm: true, normFirst: true });
    using tgt = device.randn([2, LENGTH, 8], { seed: 1 });
    using memory = device.randn([2, 5, 8], { seed: 2 });
    using whole = noGrad(() => decoder.forward(tgt, memory, { tgtIsCausal: true }));
    using cache = noGrad(() => decoder.createCache(memory, { capacity: LENGTH }));
    const parts = await inParts(tgt, [2, 1, 3], (part) => decoder.forward(part, cache));
    expect(cache.length).toBe(LENGTH);
    expectClose(parts, await whole.data(), tolerances.float32.module, 'outputs');
    cache.reset();
    const again = await inParts(tgt, [LENGTH], (part) => decoder.forward(part, cache));
    expectClose(again, await whole.data(), tolerances.float32.module, 'outputs');
    using shallow = new TransformerDecoder(device, { ...SIZES, numLayers: 1 });
    expect(() => shallow.forward(tgt, cache)).toThrow(
      'TransformerDecoder: memory must be a cache of 1 layers, got one of 2',
    );
    expect(() => decoder.createCache(memory, { capacity: 0 })).toThrow(
      'TransformerDecoder.createCache: capacity must be a positive integer, got 0',
    );
  });
});
