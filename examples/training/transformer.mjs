import {
  add,
  Embedding,
  gelu,
  LayerNorm,
  Linear,
  LocalAttention,
  Module,
  multiply,
  noGrad,
  SelfAttention,
} from 'webgpu-attention';

/** Deviation of the initial embeddings, as in GPT-2: far below that of the modules' own, so that no token is loud at first. */
const EMBEDDING_DEVIATION = 0.02;

/** x + attention(norm(x)), then x + mlp(norm(x)) (pre-norm: Xiong et al., "On layer normalization", 2020). */
class Block extends Module {
  constructor(device, { width, heads, windowSize, seed }) {
    super('Block');
    const attention = { embedDim: width, numHeads: heads, seed };
    this.norm1 = this.registerModule('norm1', new LayerNorm(device, { normalizedShape: width }));
    this.attention = this.registerModule(
      'attention',
      windowSize === undefined
        ? new SelfAttention(device, attention)
        : new LocalAttention(device, { ...attention, windowSize }),
    );
    this.norm2 = this.registerModule('norm2', new LayerNorm(device, { normalizedShape: width }));
    this.widen = this.registerModule(
      'widen',
      new Linear(device, { inFeatures: width, outFeatures: 4 * width, seed: seed + 2 }),
    );
    this.narrow = this.registerModule(
      'narrow',
      new Linear(device, { inFeatures: 4 * width, outFeatures: width, seed: seed + 3 }),
    );
  }

  forward(x) {
    const attended = add(x, this.attention.forward(this.norm1.forward(x), { isCausal: true }).output);
    return add(attended, this.narrow.forward(gelu(this.widen.forward(this.norm2.forward(attended)))));
  }
}

/** A decoder: tokens and positions are embedded, blocks follow, and a linear head gives the logits of the next token. */
export class Transformer extends Module {
  /**
   * @param {import('webgpu-attention').Device} device
   * @param {object} config
   * @param {number} config.vocabulary how many tokens there are
   * @param {number} config.length most tokens of a sequence
   * @param {number} [config.positions] rows of the position table, of which position i has row i mod positions; default length
   * @param {number} config.width
   * @param {number} config.layers
   * @param {number} config.heads
   * @param {number} [config.windowSize] of LocalAttention; without it attention is global
   * @param {number} seed of the initial weights
   */
  constructor(device, config, seed) {
    super('Transformer');
    const { vocabulary, length, positions = length, width, layers } = config;
    this.device = device;
    this.config = config;
    const table = (name, rows, tableSeed) => {
      const module = new Embedding(device, { numEmbeddings: rows, embeddingDim: width, seed: tableSeed });
      noGrad(() =>
        device.scope(() => {
          const { weight } = module.stateDict();
          module.loadStateDict({ weight: multiply(weight, device.tensor([EMBEDDING_DEVIATION], [1])) });
        }),
      );
      return this.registerModule(name, module);
    };
    this.tokens = table('tokens', vocabulary, seed);
    this.positions = table('positions', positions, seed + 1);
    this.blocks = Array.from({ length: layers }, (_, i) =>
      this.registerModule(`blocks.${i}`, new Block(device, { ...config, seed: seed + 10 * (i + 1) })),
    );
    this.norm = this.registerModule('norm', new LayerNorm(device, { normalizedShape: width }));
    this.head = this.registerModule(
      'head',
      new Linear(device, { inFeatures: width, outFeatures: vocabulary, seed: seed + 2 }),
    );
    this.rows = device.tensor(
      Int32Array.from({ length }, (_, i) => i % positions),
      [length],
    );
  }

  /**
   * @param tokens int32 [batch, length]
   * @returns logits [batch, length, vocabulary]
   */
  forward(tokens) {
    return this.device.scope(() => {
      const rows = this.rows.slice(0, 0, tokens.shape[1]);
      let x = add(this.tokens.forward(tokens), this.positions.forward(rows));
      for (const block of this.blocks) x = block.forward(x);
      return this.head.forward(this.norm.forward(x));
    });
  }

  dispose() {
    super.dispose();
    this.rows.dispose();
  }
}
