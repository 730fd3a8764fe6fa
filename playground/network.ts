/**
 * A small Llama whose attention can be looked at and trained: the library's `Llama` is for inference alone and takes its
 * attention from a cache. Weights have the same names as there (Hugging Face's), so a file of them serves both.
 */
import {
  add,
  contiguous,
  Embedding,
  flashAttention,
  linear,
  Linear,
  Module,
  multiply,
  noGrad,
  reshape,
  RMSNorm,
  RotaryEmbedding,
  swiglu,
  type Device,
  type Tensor,
} from 'webgpu-attention';

/** Names as in the library's modules. */
export interface NetworkConfig {
  readonly vocabSize: number;
  readonly embedDim: number;
  readonly hiddenDim: number;
  readonly numLayers: number;
  readonly numHeads: number;
  readonly maxLength: number;
}

/** Attention of one layer: q, k, v [B, H, N, D], rotated already → [B, H, N, D]. */
export type Attend = (q: Tensor, k: Tensor, v: Tensor, layer: number) => Tensor;

/** Deviation of the initial embeddings, as in GPT-2. */
const EMBEDDING_DEVIATION = 0.02;
const NORM_EPS = 1e-5;

const causal: Attend = (q, k, v) => flashAttention(q, k, v, { isCausal: true }).output;

/** The config as Hugging Face's config.json has it, for `readHuggingFaceLlama`. */
export function huggingFaceConfig(config: NetworkConfig, beginToken: number): Readonly<Record<string, unknown>> {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: config.vocabSize,
    hidden_size: config.embedDim,
    intermediate_size: config.hiddenDim,
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    max_position_embeddings: config.maxLength,
    rms_norm_eps: NORM_EPS,
    rope_theta: 10000,
    hidden_act: 'silu',
    tie_word_embeddings: true,
    bos_token_id: beginToken,
    eos_token_id: beginToken, // a story ends where the next begins
  };
}

class Layer extends Module {
  readonly #norms: readonly [RMSNorm, RMSNorm];
  readonly #linears: Readonly<Record<'q' | 'k' | 'v' | 'o' | 'gate' | 'up' | 'down', Linear>>;
  readonly #heads: number;

  constructor(device: Device, { embedDim, hiddenDim, numHeads }: NetworkConfig, seed: number) {
    super('Layer');
    const norm = (name: string) =>
      this.registerModule(name, new RMSNorm(device, { normalizedShape: embedDim, eps: NORM_EPS }));
    let next = seed;
    const map = (name: string, inFeatures: number, outFeatures: number) =>
      this.registerModule(name, new Linear(device, { inFeatures, outFeatures, bias: false, seed: next++ }));
    this.#heads = numHeads;
    this.#norms = [norm('input_layernorm'), norm('post_attention_layernorm')];
    this.#linears = {
      q: map('self_attn.q_proj', embedDim, embedDim),
      k: map('self_attn.k_proj', embedDim, embedDim),
      v: map('self_attn.v_proj', embedDim, embedDim),
      o: map('self_attn.o_proj', embedDim, embedDim),
      gate: map('mlp.gate_proj', embedDim, hiddenDim),
      up: map('mlp.up_proj', embedDim, hiddenDim),
      down: map('mlp.down_proj', hiddenDim, embedDim),
    };
  }

  /** x [B, N, E] → [B, N, E]. */
  forward(x: Tensor, rotary: RotaryEmbedding, attend: (q: Tensor, k: Tensor, v: Tensor) => Tensor): Tensor {
    const { q, k, v, o, gate, up, down } = this.#linears;
    const [batch, length, width] = x.shape;
    const split = (y: Tensor) => y.reshape([batch, length, this.#heads, width / this.#heads]).transpose(1, 2);
    const input = this.#norms[0].forward(x);
    const rotate = (map: Linear) => rotary.forward(contiguous(split(map.forward(input))));
    const attended = attend(rotate(q), rotate(k), split(v.forward(input)));
    const mixed = add(x, o.forward(reshape(attended.transpose(1, 2), [batch, length, width])));
    const inner = this.#norms[1].forward(mixed);
    return add(mixed, down.forward(swiglu(gate.forward(inner), up.forward(inner))));
  }
}

export class Network extends Module {
  readonly config: NetworkConfig;
  readonly device: Device;
  readonly #tokens: Embedding;
  readonly #layers: readonly Layer[];
  readonly #norm: RMSNorm;
  readonly #rotary: RotaryEmbedding;

  constructor(device: Device, config: NetworkConfig, seed: number) {
    super('Network');
    const { vocabSize, embedDim, numLayers, numHeads, maxLength } = config;
    this.device = device;
    this.config = config;
    this.#tokens = this.registerModule(
      'model.embed_tokens',
      new Embedding(device, { numEmbeddings: vocabSize, embeddingDim: embedDim, seed }),
    );
    noGrad(() =>
      device.scope(() => {
        const { weight } = this.#tokens.stateDict();
        this.#tokens.loadStateDict({ weight: multiply(weight, device.tensor([EMBEDDING_DEVIATION], [1])) });
      }),
    );
    this.#layers = Array.from({ length: numLayers }, (_, layer) =>
      this.registerModule(`model.layers.${layer}`, new Layer(device, config, seed + 10 * (layer + 1))),
    );
    this.#norm = this.registerModule('model.norm', new RMSNorm(device, { normalizedShape: embedDim, eps: NORM_EPS }));
    this.#rotary = new RotaryEmbedding(device, { dim: embedDim / numHeads, maxLength });
  }

  /**
   * @param ids int32 or uint32 [B, N]
   * @returns logits [B, N, vocabSize]
   */
  forward(ids: Tensor, attend: Attend = causal): Tensor {
    return this.device.scope(() => {
      let x: Tensor = this.#tokens.forward(ids);
      for (const [index, layer] of this.#layers.entries()) {
        x = layer.forward(x, this.#rotary, (q, k, v) => attend(q, k, v, index));
      }
      return linear(this.#norm.forward(x), this.#tokens.stateDict().weight);
    });
  }

  override dispose(): void {
    this.#rotary.dispose();
    super.dispose();
  }
}
