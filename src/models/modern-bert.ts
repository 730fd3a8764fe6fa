import { noGrad } from '../autograd/tape.ts';
import { RotaryEmbedding } from '../modules/rotary-embedding.ts';
import { flashAttention } from '../ops/attention/fused-attention.ts';
import { add, gelu, multiply } from '../ops/elementwise.ts';
import { embedding } from '../ops/embedding.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import type { Rope } from './decoder.ts';
import { checkIds, keyMaskOf, type EncodeOptions, type TextEncoder, type TextEncoderConfig } from './encoder.ts';
import type { Fields } from './fields.ts';
import { readEncoderSizes, readRope, readSlidingLayers } from './hugging-face-config.ts';
import { checkModelOptions, type Architecture, type Checkpoint, type ModelOptions } from './model.ts';
import { addLinear, addNorm, headsOf, joinHeads, Network } from './network.ts';

export interface ModernBertConfig extends TextEncoderConfig {
  readonly hiddenDim: number;
  readonly normEps: number;
  readonly normBias: boolean;
  readonly attentionBias: boolean;
  readonly feedForwardBias: boolean;
  /** For each layer whether a token sees its neighbours only. */
  readonly isLocal: readonly boolean[];
  /** Neighbours on each side that a token of such a layer sees. */
  readonly neighbours: number;
  readonly globalRope: Rope;
  readonly localRope: Rope;
}

export const MODERN_BERT: Architecture<ModernBertConfig, TextEncoder> = {
  name: 'ModernBERT',
  readConfig,
  weightShapes,
  // heads of other classes
  isSpare: (name) => !/^(embeddings|layers|final_norm)\./.test(name),
  stem: 'model.',
  create: (device, checkpoint, options) => new ModernBert(device, checkpoint, options),
};

function readConfig(fields: Fields): ModernBertConfig {
  fields.refuseUnless('model_type', ['modernbert']);
  fields.refuseUnless('hidden_activation', ['gelu']);
  const sizes = readEncoderSizes(fields);
  const every = fields.size('global_attn_every_n_layers', 3);
  const ropes = fields.child('rope_parameters');
  const rope = (kind: string, name: string, base: number): Rope => {
    const own = ropes?.child(kind);
    return own ? readRope(own, base, own) : { base: fields.positive(name, base) };
  };
  if ((sizes.embedDim / sizes.numHeads) % 2 !== 0) fields.fail('num_attention_heads', 'leave heads of even width');
  return {
    ...sizes,
    vocabSize: fields.size('vocab_size'),
    maxLength: fields.size('max_position_embeddings', 8192),
    normEps: fields.positive('norm_eps', 1e-5),
    normBias: fields.flag('norm_bias'),
    attentionBias: fields.flag('attention_bias'),
    feedForwardBias: fields.flag('mlp_bias'),
    isLocal: readSlidingLayers(fields, sizes.numLayers, (layer) => layer % every !== 0),
    neighbours: Math.floor(fields.size('local_attention', 128) / 2),
    globalRope: rope('full_attention', 'global_rope_theta', 160_000),
    localRope: rope('sliding_attention', 'local_rope_theta', 10_000),
  };
}

function weightShapes(config: ModernBertConfig): Map<string, Shape> {
  const { embedDim, hiddenDim, numLayers, vocabSize, normBias, attentionBias, feedForwardBias } = config;
  const shapes = new Map<string, Shape>([['embeddings.tok_embeddings.weight', [vocabSize, embedDim]]]);
  addNorm(shapes, 'embeddings.norm', embedDim, normBias);
  for (let layer = 0; layer < numLayers; layer++) {
    const prefix = `layers.${layer}`;
    if (layer > 0) addNorm(shapes, `${prefix}.attn_norm`, embedDim, normBias); // the first follows the embeddings' norm
    addLinear(shapes, `${prefix}.attn.Wqkv`, 3 * embedDim, embedDim, attentionBias);
    addLinear(shapes, `${prefix}.attn.Wo`, embedDim, embedDim, attentionBias);
    addNorm(shapes, `${prefix}.mlp_norm`, embedDim, normBias);
    addLinear(shapes, `${prefix}.mlp.Wi`, 2 * hiddenDim, embedDim, feedForwardBias);
    addLinear(shapes, `${prefix}.mlp.Wo`, embedDim, hiddenDim, feedForwardBias);
  }
  addNorm(shapes, 'final_norm', embedDim, normBias);
  return shapes;
}

/**
 * ModernBERT (Warner et al. 2024, arXiv:2412.13663): pre-normalised layers of rotary attention, most of them to neighbours, with
 * a gated feed-forward block.
 */
export class ModernBert extends Network<ModernBertConfig> implements TextEncoder {
  readonly maxLength: number;
  /** The rotation of global layers, and that of local ones. */
  readonly #rotaries: RotaryEmbedding[] = [];

  /**
   * @throws LoadError for weights that do not fit the config
   * @throws ArgumentError for options that do not fit, or a model that the device cannot hold
   */
  constructor(
    device: Device,
    checkpoint: Pick<Checkpoint<ModernBertConfig>, 'config' | 'weights'>,
    options: ModelOptions = {},
  ) {
    const name = 'ModernBERT';
    const { config } = checkpoint;
    const { dtype, maxLength } = checkModelOptions(name, config, options);
    super(name, device, MODERN_BERT, checkpoint, dtype);
    this.maxLength = maxLength;
    this.complete(() => {
      const dim = config.embedDim / config.numHeads;
      for (const { base, scaling } of [config.globalRope, config.localRope]) {
        this.#rotaries.push(new RotaryEmbedding(device, { dim, base, scaling, maxLength }));
      }
    });
  }

  forward(ids: Tensor, options: EncodeOptions = {}): FloatTensor {
    const call = `${this.name}.forward`;
    checkOptions(call, options, ['attentionMask']);
    checkIds(call, 'ids', ids, this.maxLength);
    return noGrad(() => this.device.scope(() => this.#run(ids, keyMaskOf(call, options, ids))));
  }

  override dispose(): void {
    for (const rotary of this.#rotaries) rotary.dispose();
    super.dispose();
  }

  #run(ids: Tensor, keyMask: Tensor | undefined): FloatTensor {
    const { normEps, numLayers } = this.config;
    const embedded = embedding(ids, this.weight('embeddings.tok_embeddings'));
    let x = this.layerNorm(embedded, 'embeddings.norm', normEps); // [B, N, E]
    for (let layer = 0; layer < numLayers; layer++) {
      const next = this.device.scope(() => this.#layer(x, layer, keyMask));
      x.dispose();
      x = next;
    }
    return this.layerNorm(x, 'final_norm', normEps);
  }

  #layer(x: Tensor, layer: number, keyMask: Tensor | undefined): FloatTensor {
    const { embedDim, hiddenDim, numHeads, normEps, isLocal, neighbours } = this.config;
    const name = `layers.${layer}`;
    const rotary = this.#rotaries[isLocal[layer] ? 1 : 0];
    const window = isLocal[layer] ? { left: neighbours, right: neighbours } : undefined;
    const normed = layer === 0 ? x : this.layerNorm(x, `${name}.attn_norm`, normEps);
    const joint = this.linear(normed, `${name}.attn.Wqkv`);
    const [q, k, v] = [0, 1, 2].map((part) => headsOf(joint, part * numHeads, numHeads, embedDim / numHeads));
    const { output } = flashAttention(rotary.forward(q), rotary.forward(k), v, { keyMask, ...(window && { window }) });
    const attended = add(x, this.linear(joinHeads(output), `${name}.attn.Wo`));
    const inner = this.linear(this.layerNorm(attended, `${name}.mlp_norm`, normEps), `${name}.mlp.Wi`);
    const hidden = multiply(gelu(inner.slice(2, 0, hiddenDim)), inner.slice(2, hiddenDim, 2 * hiddenDim));
    return add(attended, this.linear(hidden, `${name}.mlp.Wo`));
  }
}
