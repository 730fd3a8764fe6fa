import {
  add,
  Dropout,
  Embedding,
  gelu,
  LayerNorm,
  Linear,
  LocalAttention,
  Module,
  ModuleList,
  multiply,
  noGrad,
  SelfAttention,
} from 'webgpu-attention';

/** Deviation of the initial embeddings, as in GPT-2: far below that of the modules' own, so that no token is loud at first. */
const EMBEDDING_DEVIATION = 0.02;

/**
 * x + attention(norm(x)), then x + mlp(norm(x)) (pre-norm: Xiong et al., "On layer normalization", 2020). Dropout is where
 * GPT-2 has it: on attention weights, and on what is added to x.
 */
class Block extends Module {
  constructor(device, { width, heads, windowSize, dropout = 0, seed }) {
    super('Block');
    const attention = { embedDim: width, numHeads: heads, dropoutP: dropout, seed };
    this.norm1 = new LayerNorm(device, { normalizedShape: width });
    this.attention =
      windowSize === undefined
        ? new SelfAttention(device, attention)
        : new LocalAttention(device, { ...attention, windowSize });
    this.norm2 = new LayerNorm(device, { normalizedShape: width });
    this.widen = new Linear(device, { inFeatures: width, outFeatures: 4 * width, seed: seed + 2 });
    this.narrow = new Linear(device, { inFeatures: 4 * width, outFeatures: width, seed: seed + 3 });
    this.dropout = new Dropout({ p: dropout });
  }

  forward(x) {
    const { output } = this.attention.forward(this.norm1.forward(x), { isCausal: true });
    const attended = add(x, this.dropout.forward(output));
    const mixed = this.narrow.forward(gelu(this.widen.forward(this.norm2.forward(attended))));
    return add(attended, this.dropout.forward(mixed));
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
   * @param {number} [config.dropout] probability in training mode, default 0
   * @param {number} seed of the initial weights
   */
  constructor(device, config, seed) {
    super('Transformer');
    const { vocabulary, length, positions = length, width, layers, dropout = 0 } = config;
    this.device = device;
    this.config = config;
    const table = (rows, tableSeed) => {
      const module = new Embedding(device, { numEmbeddings: rows, embeddingDim: width, seed: tableSeed });
      noGrad(() =>
        device.scope(() => {
          const { weight } = module.stateDict();
          module.loadStateDict({ weight: multiply(weight, device.tensor([EMBEDDING_DEVIATION], [1])) });
        }),
      );
      return module;
    };
    this.tokens = table(vocabulary, seed);
    this.positions = table(positions, seed + 1);
    this.dropout = new Dropout({ p: dropout });
    this.blocks = new ModuleList(
      Array.from({ length: layers }, (_, i) => new Block(device, { ...config, seed: seed + 10 * (i + 1) })),
    );
    this.norm = new LayerNorm(device, { normalizedShape: width });
    this.head = new Linear(device, { inFeatures: width, outFeatures: vocabulary, seed: seed + 2 });
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
      let x = this.dropout.forward(add(this.tokens.forward(tokens), this.positions.forward(rows)));
      for (const block of this.blocks) x = block.forward(x);
      return this.head.forward(this.norm.forward(x));
    });
  }

  dispose() {
    super.dispose();
    this.rows.dispose();
  }
}
