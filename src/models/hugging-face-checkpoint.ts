/** Models as Hugging Face stores them: config.json and safetensors. */
import { ArgumentError, LoadError, shorten } from '../gpu/errors.ts';
import type { FileBytes } from '../io/bytes.ts';
import { parseSafetensors } from '../io/safetensors.ts';
import { describe } from '../ops/internal/check.ts';
import { parseFields } from './fields.ts';
import { readTokens } from './hugging-face-config.ts';
import { LLAMA, type LlamaCheckpoint } from './llama.ts';
import type { Architecture, Checkpoint, HostWeight, LanguageModelConfig } from './model.ts';
import { checkWeights } from './weights.ts';

/** The architectures that can be read, by the names that config.json has for them. */
const ARCHITECTURES: Readonly<Record<string, Architecture>> = { LlamaForCausalLM: LLAMA };

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
  return readAs(call, ARCHITECTURES, config, files);
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

function readAs<Config extends LanguageModelConfig>(
  call: string,
  known: Readonly<Record<string, Architecture<Config>>>,
  config: string,
  files: readonly FileBytes[],
): { architecture: Architecture<Config>; checkpoint: Checkpoint<Config> } {
  const fields = parseFields(call, 'config.json', config);
  const names = Object.keys(known);
  const given = fields.value('architectures') ?? names.slice(0, 1);
  const name = names.find((one) => Array.isArray(given) && given.includes(one));
  if (name === undefined) return fields.fail('architectures', `hold ${names.join(' or ')}`);
  const architecture = known[name];
  const sizes = architecture.readConfig(fields);
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
  checkWeights(call, architecture, { config: sizes, weights });
  return { architecture, checkpoint: { config: sizes, weights, ...readTokens(fields) } };
}
