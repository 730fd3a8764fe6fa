/** What a Llama-architecture model is made of on the host, and llama2.c's file of it. */
import { LoadError } from '../gpu/errors.ts';
import type { SafetensorsEntry } from '../io/safetensors.ts';
import type { RotaryScaling } from '../modules/rotary-embedding.ts';
import { formatShape, type Shape } from '../tensor/shape.ts';

/** The sizes and constants of a model; names as in modules. */
export interface LlamaConfig {
  /** Width of the residual stream, E. */
  readonly embedDim: number;
  /** Width of the feed-forward's inside. */
  readonly hiddenDim: number;
  readonly numLayers: number;
  /** H; need not divide embedDim. */
  readonly numHeads: number;
  /** Hkv; divides H. */
  readonly numKvHeads: number;
  /** D, even: all of a head is rotated. */
  readonly headDim: number;
  readonly vocabSize: number;
  /** Positions that the model was made for. */
  readonly maxLength: number;
  readonly normEps: number;
  readonly ropeBase: number;
  readonly ropeScaling?: RotaryScaling;
  /** Whether rotated pairs are neighbouring columns (llama2.c) rather than columns half a head apart (Hugging Face). */
  readonly interleaved: boolean;
  /** Whether the classifier is the embedding, so that there is no `lm_head.weight`. */
  readonly tiesClassifier: boolean;
  /** Biases on the four projections around attention. Default false. */
  readonly attentionBias?: boolean;
  /** Biases in the feed-forward. Default false. */
  readonly feedForwardBias?: boolean;
}

/** A weight on the host, as bytes of its file: F32, F16 or BF16. */
export type HostWeight = SafetensorsEntry;

/** A model on the host. */
export interface LlamaCheckpoint {
  readonly config: LlamaConfig;
  /** By Hugging Face's names of LlamaForCausalLM: `model.layers.0.self_attn.q_proj.weight`, … */
  readonly weights: Readonly<Record<string, HostWeight>>;
  /** The token that begins a text. */
  readonly beginToken: number | undefined;
  /** Tokens any of which ends a text. */
  readonly endTokens: readonly number[];
}

/** Every weight of a model with its shape, by Hugging Face's names; a linear map's is [out, in]. */
export function weightShapes(config: LlamaConfig): Map<string, Shape> {
  const { embedDim, hiddenDim, numLayers, numHeads, numKvHeads, headDim, vocabSize } = config;
  const { tiesClassifier, attentionBias = false, feedForwardBias = false } = config;
  const shapes = new Map<string, Shape>([['model.embed_tokens.weight', [vocabSize, embedDim]]]);
  const linear = (name: string, out: number, into: number, bias: boolean): void => {
    shapes.set(`${name}.weight`, [out, into]);
    if (bias) shapes.set(`${name}.bias`, [out]);
  };
  for (let layer = 0; layer < numLayers; layer++) {
    const prefix = `model.layers.${layer}`;
    shapes.set(`${prefix}.input_layernorm.weight`, [embedDim]);
    linear(`${prefix}.self_attn.q_proj`, numHeads * headDim, embedDim, attentionBias);
    linear(`${prefix}.self_attn.k_proj`, numKvHeads * headDim, embedDim, attentionBias);
    linear(`${prefix}.self_attn.v_proj`, numKvHeads * headDim, embedDim, attentionBias);
    linear(`${prefix}.self_attn.o_proj`, embedDim, numHeads * headDim, attentionBias);
    shapes.set(`${prefix}.post_attention_layernorm.weight`, [embedDim]);
    linear(`${prefix}.mlp.gate_proj`, hiddenDim, embedDim, feedForwardBias);
    linear(`${prefix}.mlp.up_proj`, hiddenDim, embedDim, feedForwardBias);
    linear(`${prefix}.mlp.down_proj`, embedDim, hiddenDim, feedForwardBias);
  }
  shapes.set('model.norm.weight', [embedDim]);
  if (!tiesClassifier) shapes.set('lm_head.weight', [vocabSize, embedDim]);
  return shapes;
}

/** Problems told in one error. */
const LISTED = 4;
/** Rotary tables that old files hold and everyone recomputes. */
const IGNORED = /\.rotary_emb\.inv_freq$/;

/** @throws LoadError, naming the call, that lists the first of the missing, unexpected and misshapen weights */
export function checkWeights(call: string, { config, weights }: Pick<LlamaCheckpoint, 'config' | 'weights'>): void {
  const problems: string[] = [];
  const shapes = weightShapes(config);
  for (const [name, shape] of shapes) {
    const weight = Object.hasOwn(weights, name) ? weights[name] : undefined;
    if (!weight) problems.push(`'${name}' is missing`);
    else if (!['F32', 'F16', 'BF16'].includes(weight.dtype)) {
      problems.push(`'${name}' must be F32, F16 or BF16, got ${weight.dtype}`);
    } else if (formatShape(weight.shape) !== formatShape(shape)) {
      problems.push(`'${name}' must have shape ${formatShape(shape)}, got ${formatShape(weight.shape)}`);
    }
  }
  for (const name of Object.keys(weights)) {
    const isTied = config.tiesClassifier && name === 'lm_head.weight';
    if (!shapes.has(name) && !isTied && !IGNORED.test(name)) problems.push(`'${name.slice(0, 80)}' is unexpected`);
  }
  if (problems.length === 0) return;
  const more = problems.length > LISTED ? `; and ${problems.length - LISTED} more` : '';
  throw new LoadError(`${call}: weights must fit the model's sizes: ${problems.slice(0, LISTED).join('; ')}${more}`);
}

const HEADER_BYTES = 28;
/** Past these a header is taken for garbage; products of them stay exact. */
const MAX_SIZE = 2 ** 22;
/** Each layer is listed by its weights' names before any of them is looked for. */
export const MAX_LAYERS = 4096;

/** What other files that might be taken for one begin with. */
const OTHER_FORMATS: readonly (readonly [beginning: string, name: string])[] = [
  ['24ka', "a llama2.c file of version 1 or 2, of which only the first format ('version 0') can be read"],
  ['GGUF', 'a GGUF file'],
  ['PK\x03\x04', "PyTorch's own format"],
];

/**
 * Reads a checkpoint in llama2.c's first format (`export.py --version 0`, as stories15M.bin): seven little-endian int32
 * `dim, hidden, layers, heads, kvHeads, vocab, maxLength`, then float32 weights, each kind for all layers together. A
 * negative vocab says that the classifier is not the embedding and follows at the end. Adjacent columns are rotated with
 * base 10000, whose tables in the file are not read; the norms' epsilon is 1e-5. Token 1 begins a text, and 1 or 2 ends it.
 *
 * @returns weights that are views of `file`
 * @throws LoadError, one sentence, for a file that is none or has not the length that its header tells
 */
export function readLlama2c(file: Uint8Array): LlamaCheckpoint {
  const config = readHeader(file);
  const { embedDim, hiddenDim, numLayers, numHeads, numKvHeads, headDim, maxLength } = config;
  const shapes = weightShapes(config);
  const weights: Record<string, HostWeight> = {};
  let at = HEADER_BYTES;
  const take = (name: string): void => {
    const shape = shapes.get(name)!;
    const begin = at;
    at += 4 * shape.reduce((product, length) => product * length, 1);
    weights[name] = { dtype: 'F32', shape: [...shape], data: file.subarray(begin, at) };
  };
  const takeLayers = (name: string): void => {
    for (let layer = 0; layer < numLayers; layer++) take(`model.layers.${layer}.${name}.weight`);
  };
  take('model.embed_tokens.weight');
  takeLayers('input_layernorm');
  for (const name of ['q_proj', 'k_proj', 'v_proj', 'o_proj']) takeLayers(`self_attn.${name}`);
  takeLayers('post_attention_layernorm');
  for (const name of ['gate_proj', 'down_proj', 'up_proj']) takeLayers(`mlp.${name}`);
  take('model.norm.weight');
  at += 4 * maxLength * headDim;
  if (!config.tiesClassifier) take('lm_head.weight');
  if (at !== file.length) {
    throw new LoadError(
      `readLlama2c: file must have ${at} bytes for dim ${embedDim}, hidden ${hiddenDim}, ${numLayers} layers, ` +
        `${numHeads} heads, ${numKvHeads} key heads, vocab ${config.vocabSize} and length ${maxLength}, got ` +
        `${file.length} bytes${file.length < at ? ', so it is cut off' : ''}`,
    );
  }
  return { config, weights, beginToken: 1, endTokens: [1, 2] };
}

function readHeader(file: Uint8Array): LlamaConfig {
  if (file.length < HEADER_BYTES) {
    throw new LoadError(`readLlama2c: file must begin with ${HEADER_BYTES} bytes of sizes, got ${file.length} bytes`);
  }
  const beginning = String.fromCharCode(...file.subarray(0, 4));
  const other = OTHER_FORMATS.find(([start]) => start === beginning);
  if (other) throw new LoadError(`readLlama2c: file must be a llama2.c checkpoint, got ${other[1]}`);
  const view = new DataView(file.buffer, file.byteOffset, HEADER_BYTES);
  const header = Array.from({ length: 7 }, (_, i) => view.getInt32(4 * i, true));
  const [embedDim, hiddenDim, numLayers, numHeads, numKvHeads, signedVocab, maxLength] = header;
  const vocabSize = Math.abs(signedVocab);
  const sizes = [embedDim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, maxLength];
  const isPlausible =
    sizes.every((size) => size >= 1 && size <= MAX_SIZE) &&
    numLayers <= MAX_LAYERS &&
    embedDim % numHeads === 0 &&
    numHeads % numKvHeads === 0 &&
    (embedDim / numHeads) % 2 === 0;
  if (!isPlausible) {
    throw new LoadError(
      'readLlama2c: file must begin with plausible sizes (dim, hidden, layers, heads, key heads, vocab, length), got ' +
        formatShape(header),
    );
  }
  return {
    embedDim,
    hiddenDim,
    numLayers,
    numHeads,
    numKvHeads,
    headDim: embedDim / numHeads,
    vocabSize,
    maxLength,
    normEps: 1e-5,
    ropeBase: 10000,
    interleaved: true,
    tiesClassifier: signedVocab > 0,
  };
}
