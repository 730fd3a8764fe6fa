/** Reads models of the Llama architecture in llama2.c's format. */
import { LoadError } from '../gpu/errors.ts';
import { bytesOf, type FileBytes } from '../io/bytes.ts';
import { formatShape } from '../tensor/shape.ts';
import { LLAMA, type LlamaCheckpoint, type LlamaConfig } from './llama.ts';
import type { HostWeight } from './model.ts';
import { MAX_LAYERS } from './weights.ts';

const HEADER_BYTES = 28;
/** A header with a larger size is refused as garbage. Products of sizes up to this one are exact. */
const MAX_SIZE = 2 ** 22;

/** The first bytes of other formats that a user might give. */
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
 * @param bytes the whole file
 * @returns weights that are views of `bytes`
 * @throws LoadError, one sentence, for a file of another format, and one whose length does not fit its header
 * @throws ArgumentError if `bytes` is neither a Uint8Array nor an ArrayBuffer
 */
export function readLlama2c(bytes: FileBytes): LlamaCheckpoint {
  const file = bytesOf('readLlama2c', 'bytes', bytes);
  const config = readHeader(file);
  const { embedDim, hiddenDim, numLayers, numHeads, numKvHeads, headDim, maxLength } = config;
  const shapes = LLAMA.weightShapes(config);
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
