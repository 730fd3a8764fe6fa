import { inspect } from 'node:util';
import { beforeAll, expect, test } from 'vitest';
import {
  CrossAttention,
  Dropout,
  Embedding,
  FlashAttention,
  LayerNorm,
  Linear,
  LocalAttention,
  Module,
  MultiHeadAttention,
  RMSNorm,
  RotaryEmbedding,
  ScaledDotProductAttention,
  SelfAttention,
  type Device,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const ATTENTION = { embedDim: 8, numHeads: 2 };

class Block extends Module {
  constructor(outFeatures = 8) {
    super('Block');
    this.registerModule('norm', new RMSNorm(device, { normalizedShape: 8 }));
    this.registerModule('attn', new SelfAttention(device, ATTENTION));
    this.registerModule('mlp', new Linear(device, { inFeatures: 8, outFeatures }));
  }
}

class Stack extends Module {
  constructor(...blocks: Module[]) {
    super('Stack');
    this.registerModule('embed', new Embedding(device, { numEmbeddings: 10, embeddingDim: 8 }));
    blocks.forEach((block, i) => this.registerModule(`blocks.${i}`, block));
  }

  protected override extraRepr() {
    return { depth: 3, dims: [8, 8], rope: { base: 1e4 }, absent: undefined };
  }
}

test.each([
  [() => new Linear(device, { inFeatures: 4, outFeatures: 3 }), 'Linear(inFeatures=4, outFeatures=3, bias=true)'],
  [
    () => new Linear(device, { inFeatures: 4, outFeatures: 3, bias: false, dtype: 'float16' }),
    "Linear(inFeatures=4, outFeatures=3, bias=false, dtype='float16')",
  ],
  [() => new Embedding(device, { numEmbeddings: 10, embeddingDim: 8 }), 'Embedding(numEmbeddings=10, embeddingDim=8)'],
  [
    () => new LayerNorm(device, { normalizedShape: [2, 4], bias: false }),
    'LayerNorm(normalizedShape=[2, 4], eps=0.00001, elementwiseAffine=true, bias=false)',
  ],
  [
    () => new LayerNorm(device, { normalizedShape: 8, elementwiseAffine: false }),
    'LayerNorm(normalizedShape=[8], eps=0.00001, elementwiseAffine=false)',
  ],
  [
    () => new RMSNorm(device, { normalizedShape: 8, eps: 1e-6 }),
    'RMSNorm(normalizedShape=[8], eps=0.000001, elementwiseAffine=true)',
  ],
  [
    () => new RotaryEmbedding(device, { dim: 8, maxLength: 16, scaling: { type: 'linear', factor: 2 } }),
    "RotaryEmbedding(dim=8, maxLength=16, base=10000, interleaved=false, scaling={ type: 'linear', factor: 2 })",
  ],
  [() => new Dropout(), 'Dropout(p=0.5)'],
  [() => new FlashAttention(), 'FlashAttention()'],
  [
    () => new FlashAttention({ scale: 0.5, blockSize: 32, dropoutP: 0.1 }),
    'FlashAttention(scale=0.5, blockSize=32, dropoutP=0.1)',
  ],
  [() => new ScaledDotProductAttention({ scale: 2 }), 'ScaledDotProductAttention(scale=2)'],
  [() => new SelfAttention(device, ATTENTION), 'SelfAttention(embedDim=8, numHeads=2, bias=true)'],
  [
    () => new LocalAttention(device, { ...ATTENTION, windowSize: 4, dropoutP: 0.1, dtype: 'float16' }),
    "LocalAttention(embedDim=8, numHeads=2, bias=true, dropoutP=0.1, dtype='float16', windowSize=4)",
  ],
  [
    () => new CrossAttention(device, { ...ATTENTION, kvDim: 4, bias: false }),
    'CrossAttention(embedDim=8, numHeads=2, bias=false, kvDim=4)',
  ],
  [
    () => new MultiHeadAttention(device, { ...ATTENTION, kDim: 4, addBiasKv: true, addZeroAttn: true }),
    'MultiHeadAttention(embedDim=8, numHeads=2, kDim=4, bias=true, addBiasKv=true, addZeroAttn=true)',
  ],
])('%# a module prints its options', (make: () => Module, text) => {
  const module = make();
  expect(String(module)).toBe(text);
  expect(inspect(module)).toBe(text);
  module.dispose();
  expect(String(module)).toBe(text.replace(/\)$/, text.includes('()') ? 'disposed)' : ', disposed)'));
});

test('inner modules print below, and numbered ones that are alike once', () => {
  const stack = new Stack(new Block(), new Block(), new Block(4));
  const block = (outFeatures: number) => `Block(
    (norm): RMSNorm(normalizedShape=[8], eps=0.00001, elementwiseAffine=true)
    (attn): SelfAttention(embedDim=8, numHeads=2, bias=true)
    (mlp): Linear(inFeatures=8, outFeatures=${outFeatures}, bias=true)
  )`;
  expect(String(stack)).toBe(`Stack(
  depth=3, dims=[8, 8], rope={ base: 10000 }
  (embed): Embedding(numEmbeddings=10, embeddingDim=8)
  (blocks.0-1): 2 × ${block(8)}
  (blocks.2): ${block(4)}
)`);
  stack.dispose();
});

test('a disposed tree says so on each line', () => {
  const block = new Block();
  block.dispose();
  expect(String(block)).toBe(`Block(
  disposed
  (norm): RMSNorm(normalizedShape=[8], eps=0.00001, elementwiseAffine=true, disposed)
  (attn): SelfAttention(embedDim=8, numHeads=2, bias=true, disposed)
  (mlp): Linear(inFeatures=8, outFeatures=8, bias=true, disposed)
)`);
});

test('numbers that do not count on are printed as they are', () => {
  class Gaps extends Module {
    constructor(names: readonly string[]) {
      super('Gaps');
      for (const name of names) this.registerModule(name, new Dropout());
    }
  }
  expect(String(new Gaps(['0', '2', 'a1', 'a2', 'b3', '.5']))).toBe(`Gaps(
  (0): Dropout(p=0.5)
  (2): Dropout(p=0.5)
  (a1-2): 2 × Dropout(p=0.5)
  (b3): Dropout(p=0.5)
  (.5): Dropout(p=0.5)
)`);
});

test('a print does not throw', () => {
  class Broken extends Module {
    constructor() {
      super('Broken');
      this.registerModule('itself', this);
    }

    protected override extraRepr(): never {
      throw new Error('No.');
    }
  }
  expect(String(new Broken())).toBe('Broken(\n  extraRepr() threw Error: No.\n  (itself): Broken(…)\n)');
  const circle: Record<string, unknown> = { circle: undefined };
  circle['circle'] = circle;
  class Circle extends Module {
    protected override extraRepr() {
      return circle;
    }
  }
  expect(String(new Circle('Circle'))).toMatch(/^Circle\(extraRepr\(\) threw RangeError/);
  expect(String(Object.create(Module.prototype))).toBe('Module');
});
