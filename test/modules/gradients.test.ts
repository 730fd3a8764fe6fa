/**
 * Gradients through whole modules, and through small networks of them, of every parameter and input: against finite differences
 * through their float64 references.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  add,
  type AttentionModuleResult,
  CrossAttention,
  crossEntropy,
  type Device,
  Embedding,
  FlashAttention,
  gelu,
  LayerNorm,
  Linear,
  LocalAttention,
  Module,
  MultiHeadAttention,
  reshape,
  RMSNorm,
  RotaryEmbedding,
  ScaledDotProductAttention,
  SelfAttention,
  swiglu,
  type Tensor,
} from '../../src/index.ts';
import { testDevice, triesEveryKernel } from '../device.ts';
import { type Results, readGradients, walkBack } from '../ops/walk-back.ts';
import { Random } from '../random.ts';
import { attention } from '../reference/attention.ts';
import { expectClose } from '../reference/compare.ts';
import { crossEntropy as crossEntropyReference } from '../reference/cross-entropy.ts';
import { attentionDropout } from '../reference/dropout.ts';
import { elementwise, functions } from '../reference/elementwise.ts';
import { embedding } from '../reference/embedding.ts';
import { numericalGradients } from '../reference/finite-differences.ts';
import { joinHeads, splitHeads } from '../reference/heads.ts';
import type { HostArray } from '../reference/host-array.ts';
import { matmul } from '../reference/matmul.ts';
import { multiHeadAttention } from '../reference/multi-head-attention.ts';
import { layerNorm, rmsNorm } from '../reference/normalise.ts';
import { rotaryEmbedding } from '../reference/rotary-embedding.ts';
import { tolerances } from '../reference/tolerances.ts';

type Arrays = Readonly<Record<string, HostArray>>;
type Tensors = Readonly<Record<string, Tensor>>;

interface Problem {
  module: Module;
  inputs: Arrays;
  /** Results of which a gradient is given. */
  forward: (inputs: Tensors) => readonly Tensor[];
  reference: (state: Arrays, inputs: Arrays) => readonly HostArray[];
}

const isBroad = await triesEveryKernel();

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(51);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

/** Fails unless the gradients of all inputs and of all parameters are those of finite differences. Disposes the module. */
async function expectGradients({ module, inputs, forward, reference }: Problem): Promise<void> {
  const state = Object.fromEntries(
    Object.entries(module.stateDict()).map(([name, { shape }]) => [name, spread(name, normals(...shape))]),
  );
  const names = [...Object.keys(inputs), ...Object.keys(state)];
  const evaluate = (...arrays: HostArray[]) => {
    const named = Object.fromEntries(names.map((name, i) => [name, arrays[i]]));
    return reference(named, named);
  };
  const arrays = [...Object.values(inputs), ...Object.values(state)];
  const gradients = evaluate(...arrays).map(({ shape }) => normals(...shape));
  const expected = numericalGradients(evaluate, arrays, gradients);

  const upload = ({ shape, data }: HostArray) => device.tensor(data as Float32Array, shape);
  const leaves = device.scope(() => {
    module.loadStateDict(Object.fromEntries(Object.entries(state).map(([name, array]) => [name, upload(array)])));
    const given: Record<string, Tensor> = {};
    for (const [name, array] of Object.entries(inputs)) {
      given[name] = upload(array);
      given[name].requiresGrad = true;
    }
    const results: Results = forward(given).map((result, i) => [result, upload(gradients[i])] as const);
    walkBack(results);
    return { ...given, ...module.stateDict() };
  });
  const actual = await readGradients(leaves);
  module.dispose();
  for (const [i, name] of names.entries()) {
    expectClose(actual[name], expected[i].data, tolerances.float32.moduleGradient, name);
  }
}

/** Weights about as large as initial ones, so that a stack of modules neither grows nor fades. */
function spread(name: string, { shape, data }: HostArray): HostArray {
  const factor = shape.length > 1 ? 1 / Math.sqrt(shape[shape.length - 1]) : 0.5;
  const centre = name.endsWith('norm.weight') ? 1 : 0;
  return { shape, data: Float32Array.from(data, (x) => centre + factor * x) };
}

const [batch, length, width, heads] = [2, 5, 8, 2];

describe('attention modules', () => {
  const results = ({ output, weights }: AttentionModuleResult) => (weights ? [output, weights] : [output]);

  test.each([
    ['fused', {}, false],
    ['through weights', { needWeights: true }, false],
    ['through their mean', { needWeights: true, averageWeights: true }, true],
  ])('MultiHeadAttention, %s', async (_name, options, averageWeights) => {
    const module = new MultiHeadAttention(device, {
      embedDim: width,
      numHeads: heads,
      kDim: 6,
      vDim: 3,
      addBiasKv: true,
      addZeroAttn: true,
    });
    await expectGradients({
      module,
      inputs: { query: normals(batch, length, width), key: normals(batch, 7, 6), value: normals(batch, 7, 3) },
      forward: ({ query, key, value }) => results(module.forward(query, key, value, options)),
      reference: (state, { query, key, value }) => {
        const { output, weights } = multiHeadAttention(state, query, key, value, {
          numHeads: heads,
          addZeroAttn: true,
          averageWeights,
        });
        return 'needWeights' in options ? [output, weights] : [output];
      },
    });
  });

  test.runIf(isBroad)('SelfAttention, causal, with dropout', async () => {
    const dropoutP = 0.3;
    const module = new SelfAttention(device, { embedDim: width, numHeads: heads, dropoutP });
    const dropoutSeed = 2 ** 40 + 5;
    await expectGradients({
      module,
      inputs: { x: normals(batch, length, width) },
      forward: ({ x }) => [module.forward(x, { isCausal: true, dropoutSeed }).output],
      reference: (state, { x }) => {
        const dropout = attentionDropout(dropoutP, dropoutSeed, heads);
        return [multiHeadAttention(state, x, x, x, { numHeads: heads, isCausal: true, dropout }).output];
      },
    });
  });

  test('CrossAttention to another width', async () => {
    const module = new CrossAttention(device, { embedDim: width, numHeads: heads, kvDim: 6, bias: false });
    await expectGradients({
      module,
      inputs: { x: normals(batch, length, width), context: normals(batch, 3, 6) },
      forward: ({ x, context }) => [module.forward(x, context).output],
      reference: (state, { x, context }) => [
        multiHeadAttention(state, x, context, context, { numHeads: heads }).output,
      ],
    });
  });

  test('LocalAttention', async () => {
    const module = new LocalAttention(device, { embedDim: width, numHeads: heads, windowSize: 4 });
    await expectGradients({
      module,
      inputs: { x: normals(batch, 9, width) },
      forward: ({ x }) => [module.forward(x).output],
      reference: (state, { x }) => [
        multiHeadAttention(state, x, x, x, { numHeads: heads, window: { left: 2, right: 2 } }).output,
      ],
    });
  });

  test.each(['FlashAttention', 'ScaledDotProductAttention'] as const)('%s', async (name) => {
    const scale = 0.7;
    const module = name === 'FlashAttention' ? new FlashAttention({ scale }) : new ScaledDotProductAttention({ scale });
    await expectGradients({
      module,
      inputs: { q: normals(batch, 4, length, 6), k: normals(batch, 2, 7, 6), v: normals(batch, 2, 7, 5) },
      forward: ({ q, k, v }) => [module.forward(q, k, v, { isCausal: 'bottom-right' }).output],
      reference: (_state, { q, k, v }) => [attention(q, k, v, { scale, isCausal: 'bottom-right' }).output],
    });
  });
});

/** A language model of one pre-norm block, as GPT-2's. */
class Transformer extends Module {
  readonly tokens = this.registerModule('tokens', new Embedding(device, { numEmbeddings: 7, embeddingDim: width }));
  readonly attentionNorm = this.registerModule('attention_norm', new LayerNorm(device, { normalizedShape: width }));
  readonly attention = this.registerModule(
    'attention',
    new SelfAttention(device, { embedDim: width, numHeads: heads }),
  );
  readonly feedNorm = this.registerModule('feed_norm', new LayerNorm(device, { normalizedShape: width }));
  readonly up = this.registerModule('up', new Linear(device, { inFeatures: width, outFeatures: 12 }));
  readonly down = this.registerModule('down', new Linear(device, { inFeatures: 12, outFeatures: width }));
  readonly head = this.registerModule('head', new Linear(device, { inFeatures: width, outFeatures: 7, bias: false }));

  constructor() {
    super('Transformer');
  }

  forward(ids: Tensor): Tensor {
    const x = this.tokens.forward(ids);
    const y = add(x, this.attention.forward(this.attentionNorm.forward(x), { isCausal: true }).output);
    const z = add(y, this.down.forward(gelu(this.up.forward(this.feedNorm.forward(y)))));
    return this.head.forward(z);
  }
}

function transformerReference(state: Arrays, ids: HostArray): HostArray {
  const norm = (x: HostArray, name: string) =>
    layerNorm(x, [width], { weight: state[`${name}.weight`], bias: state[`${name}.bias`] });
  const linear = (x: HostArray, name: string) =>
    matmul(x, state[`${name}.weight`], { transposeB: true, bias: state[`${name}.bias`] });
  const inner = Object.fromEntries(
    Object.entries(state).flatMap(([name, array]) =>
      name.startsWith('attention.') ? [[name.slice('attention.'.length), array]] : [],
    ),
  );
  const x = embedding(ids, state['tokens.weight']);
  const normed = norm(x, 'attention_norm');
  const attended = multiHeadAttention(inner, normed, normed, normed, { numHeads: heads, isCausal: true }).output;
  const y = elementwise(functions.add, x, attended);
  const fed = linear(elementwise(functions.gelu, linear(norm(y, 'feed_norm'), 'up')), 'down');
  return linear(elementwise(functions.add, y, fed), 'head');
}

/** Grouped heads that are rotated, attention within a window, a gated feed-forward: as Llama's and Mistral's. */
class RotaryBlock extends Module {
  readonly norm = this.registerModule('norm', new RMSNorm(device, { normalizedShape: width }));
  readonly q = this.registerModule('q', new Linear(device, { inFeatures: width, outFeatures: 16, bias: false }));
  readonly k = this.registerModule('k', new Linear(device, { inFeatures: width, outFeatures: 8, bias: false }));
  readonly v = this.registerModule('v', new Linear(device, { inFeatures: width, outFeatures: 8, bias: false }));
  readonly o = this.registerModule('o', new Linear(device, { inFeatures: 16, outFeatures: width, bias: false }));
  readonly rotary = this.registerModule('rotary', new RotaryEmbedding(device, { dim: 4, maxLength: 16 }));
  readonly flash = this.registerModule('flash', new FlashAttention());
  readonly feedNorm = this.registerModule('feed_norm', new RMSNorm(device, { normalizedShape: width }));
  readonly gate = this.registerModule('gate', new Linear(device, { inFeatures: width, outFeatures: 10, bias: false }));
  readonly up = this.registerModule('up', new Linear(device, { inFeatures: width, outFeatures: 10, bias: false }));
  readonly down = this.registerModule('down', new Linear(device, { inFeatures: 10, outFeatures: width, bias: false }));

  constructor() {
    super('RotaryBlock');
  }

  forward(x: Tensor): Tensor {
    const [n, l] = x.shape;
    const split = (y: Tensor) => y.reshape([n, l, y.shape[2] / 4, 4]).transpose(1, 2);
    const normed = this.norm.forward(x);
    const [q, k, v] = [this.q, this.k, this.v].map((projection) => split(projection.forward(normed)));
    const options = { isCausal: true, window: { left: 3, right: 0 } };
    const { output } = this.flash.forward(this.rotary.forward(q), this.rotary.forward(k), v, options);
    const y = add(x, this.o.forward(reshape(output.transpose(1, 2), [n, l, 16])));
    const fed = this.feedNorm.forward(y);
    return add(y, this.down.forward(swiglu(this.gate.forward(fed), this.up.forward(fed))));
  }
}

function rotaryReference(state: Arrays, x: HostArray): HostArray {
  const norm = (y: HostArray, name: string) => rmsNorm(y, [width], { weight: state[`${name}.weight`] });
  const linear = (y: HostArray, name: string) => matmul(y, state[`${name}.weight`], { transposeB: true });
  const table = (turn: (angle: number) => number): HostArray => ({
    shape: [16, 2],
    data: Array.from({ length: 32 }, (_, at) => turn(Math.floor(at / 2) * 10000 ** (-(at % 2) / 2))),
  });
  const rotate = (y: HostArray) =>
    rotaryEmbedding(y, table(Math.cos), table(Math.sin), { position: (_batch, row) => row });
  const normed = norm(x, 'norm');
  const [q, k, v] = ['q', 'k', 'v'].map((name) => linear(normed, name)).map((y) => splitHeads(y, y.shape[2] / 4));
  const attended = attention(rotate(q), rotate(k), v, { isCausal: true, window: { left: 3, right: 0 } }).output;
  const y = elementwise(functions.add, x, linear(joinHeads(attended), 'o'));
  const fed = norm(y, 'feed_norm');
  const gated = elementwise(functions.swiglu, linear(fed, 'gate'), linear(fed, 'up'));
  return elementwise(functions.add, y, linear(gated, 'down'));
}

describe('networks', () => {
  test('a transformer, from tokens to its loss', async () => {
    const module = new Transformer();
    const ids: HostArray = { shape: [batch, length], data: Int32Array.from([1, 4, 4, 0, 6, 2, 2, 5, 3, 1]) };
    const targets: HostArray = { shape: [batch, length], data: Int32Array.from([4, 4, 0, 6, 2, 2, 5, -100, 1, 0]) };
    const integers = ({ shape, data }: HostArray) => device.tensor(data as Int32Array, shape, { dtype: 'int32' });
    await expectGradients({
      module,
      inputs: {},
      forward: () => [crossEntropy(module.forward(integers(ids)), integers(targets))],
      reference: (state) => [crossEntropyReference(transformerReference(state, ids), targets)],
    });
  });

  test('a block with grouped rotary heads', async () => {
    const module = new RotaryBlock();
    await expectGradients({
      module,
      inputs: { x: normals(batch, 7, width) },
      forward: ({ x }) => [module.forward(x)],
      reference: (state, { x }) => [rotaryReference(state, x)],
    });
  });
});
