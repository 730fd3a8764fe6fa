/** Models as Hugging Face stores them: config.json and safetensors. */
import { ArgumentError, LoadError, shorten } from '../gpu/errors.ts';
import type { FileBytes } from '../io/bytes.ts';
import { parseSafetensors } from '../io/safetensors.ts';
import { describe } from '../ops/internal/check.ts';
import { BART } from './bart.ts';
import { BERT } from './bert.ts';
import { parseFields, type Fields } from './fields.ts';
import { readTokens } from './hugging-face-config.ts';
import type { DecoderConfig } from './decoder.ts';
import { GEMMA2, GEMMA3 } from './gemma.ts';
import { GPT2 } from './gpt2.ts';
import { LLAMA, type LlamaCheckpoint } from './llama.ts';
import { MISTRAL } from './mistral.ts';
import { MODERN_BERT } from './modern-bert.ts';
import { OLMO2 } from './olmo2.ts';
import { PHI3 } from './phi3.ts';
import { QWEN2, QWEN3 } from './qwen.ts';
import { SMOLLM3 } from './smollm3.ts';
import { T5 } from './t5.ts';
import { VIT } from './vit.ts';
import type { Architecture, Checkpoint, HostWeight, LanguageModelConfig, ModelConfig } from './model.ts';
import { checkWeights } from './weights.ts';

/** The architectures that can be read, by the names that config.json has for them. */
const DECODERS = {
  LlamaForCausalLM: LLAMA,
  MistralForCausalLM: MISTRAL,
  Qwen2ForCausalLM: QWEN2,
  Qwen3ForCausalLM: QWEN3,
  Gemma2ForCausalLM: GEMMA2,
  Gemma3ForCausalLM: GEMMA3,
  Phi3ForCausalLM: PHI3,
  Olmo2ForCausalLM: OLMO2,
  SmolLM3ForCausalLM: SMOLLM3,
} satisfies Record<string, Architecture<DecoderConfig>>;

/** What `generate` writes with, of any config. */
const LANGUAGE_MODELS = { ...DECODERS, GPT2LMHeadModel: GPT2 } as unknown as Readonly<Record<string, Architecture>>;

/**
 * Reads a model of any known architecture, as `readHuggingFaceLlama` does for Llama.
 *
 * @param call for errors
 */
export function readHuggingFaceModel(
  call: string,
  config: string,
  files: readonly FileBytes[],
): { architecture: Architecture; checkpoint: Checkpoint } {
  return readAs(call, LANGUAGE_MODELS, config, files);
}

/**
 * Reads a `LlamaForCausalLM` from the text of its config.json and the bytes of its safetensors, one or several shards.
 * Weights may be F32, F16 or BF16. Rotary scaling may be `default`, `linear`, `llama3` or `yarn`.
 *
 * @returns weights that are views of `files`
 * @throws LoadError, one sentence, for another architecture, an unsupported option, files that are not safetensors, and
 *   missing, unexpected or misshapen weights
 * @throws ArgumentError if `config` is not a string, or `files` no list of Uint8Arrays and ArrayBuffers
 */
export function readHuggingFaceLlama(config: string, files: readonly FileBytes[]): LlamaCheckpoint {
  return readAs('readHuggingFaceLlama', { LlamaForCausalLM: LLAMA }, config, files).checkpoint;
}

/** All architectures by kind. */
const KINDS = {
  decoder: LANGUAGE_MODELS,
  encoder: {
    BertModel: BERT,
    BertForMaskedLM: BERT,
    BertForPreTraining: BERT,
    BertForSequenceClassification: BERT,
    BertForTokenClassification: BERT,
    ModernBertModel: MODERN_BERT,
    ModernBertForMaskedLM: MODERN_BERT,
    ModernBertForSequenceClassification: MODERN_BERT,
  },
  'image-encoder': { ViTModel: VIT, ViTForImageClassification: VIT },
  'encoder-decoder': { T5ForConditionalGeneration: T5, BartForConditionalGeneration: BART },
} satisfies Record<string, Readonly<Record<string, unknown>>>;

type AnyArchitecture = Architecture<ModelConfig, unknown>;

/**
 * Reads the config of a model of any kind, and when it is asked for, the checkpoint.
 *
 * @param files reads the files that hold the weights
 */
export function readAny(
  call: string,
  config: string,
  files: () => Promise<readonly FileBytes[]>,
): {
  readonly architecture: AnyArchitecture;
  readonly kind: keyof typeof KINDS;
  readonly checkpoint: () => Promise<Checkpoint<ModelConfig>>;
} {
  const fields = parseFields(call, 'config.json', config);
  const all = Object.entries(KINDS).flatMap(([kind, architectures]) =>
    Object.entries(architectures).map(([name, architecture]) => ({
      kind: kind as keyof typeof KINDS,
      name,
      architecture: architecture as unknown as AnyArchitecture,
    })),
  );
  const found = chosen(fields, all);
  const sizes = found.architecture.readConfig(fields);
  const checkpoint = async () => ({
    config: sizes,
    weights: readWeights(call, found.architecture, sizes, await files()),
    ...readTokens(fields),
  });
  return { ...found, checkpoint };
}

/** The first of the known architectures that config.json names; the first of all where it names none. */
function chosen<Known extends { readonly name: string }>(fields: Fields, known: readonly Known[]): Known {
  const given = fields.value('architectures') ?? [known[0].name];
  const found = known.find(({ name }) => Array.isArray(given) && given.includes(name));
  return found ?? fields.fail('architectures', `hold ${known.map(({ name }) => name).join(' or ')}`);
}

function readAs<Config extends LanguageModelConfig>(
  call: string,
  known: Readonly<Record<string, Architecture<Config>>>,
  config: string,
  files: readonly FileBytes[],
): { architecture: Architecture<Config>; checkpoint: Checkpoint<Config> } {
  const fields = parseFields(call, 'config.json', config);
  const { architecture } = chosen(
    fields,
    Object.entries(known).map(([name, each]) => ({ name, architecture: each })),
  );
  const sizes = architecture.readConfig(fields);
  const weights = readWeights(call, architecture, sizes, files);
  return { architecture, checkpoint: { config: sizes, weights, ...readTokens(fields) } };
}

/** The weights of all files, checked against the model's sizes. */
function readWeights<Config extends ModelConfig>(
  call: string,
  architecture: Architecture<Config, unknown>,
  config: Config,
  files: readonly FileBytes[],
): Record<string, HostWeight> {
  if (!Array.isArray(files)) {
    throw new ArgumentError(`${call}: files must be a list of Uint8Arrays or ArrayBuffers, got ${describe(files)}`);
  }
  const weights: Record<string, HostWeight> = Object.create(null);
  for (const file of files) {
    for (const [weight, entry] of Object.entries(parseSafetensors(file).tensors)) {
      if (weight in weights)
        throw new LoadError(`${call}: weight '${shorten(weight)}' must be in one file, got it in two`);
      weights[weight] = entry;
    }
  }
  const named = withStem(architecture, config, weights);
  checkWeights(call, architecture, { config, weights: named });
  return named;
}

/** The weights by the names that the network has for them: files of other classes have its stem before them, or lack it. */
function withStem<Config extends ModelConfig>(
  architecture: Architecture<Config, unknown>,
  config: Config,
  weights: Readonly<Record<string, HostWeight>>,
): Record<string, HostWeight> {
  const { stem } = architecture;
  if (stem === undefined) return { ...weights };
  const known = architecture.weightShapes(config);
  const named: Record<string, HostWeight> = Object.create(null);
  for (const [name, entry] of Object.entries(weights)) {
    const other = name.startsWith(stem) ? name.slice(stem.length) : stem + name;
    named[!known.has(name) && known.has(other) && !(other in weights) ? other : name] = entry;
  }
  return named;
}
