/** Loads a model of any known architecture from Hugging Face's files. */
import { readFolder } from '#platform';
import { ArgumentError, LoadError, listFirst } from '../gpu/errors.ts';
import { bytesOf, type FileBytes } from '../io/bytes.ts';
import { checkChoice, describe } from '../ops/internal/check.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import type { ImageEncoder, TextEncoder } from './encoder.ts';
import type { EncoderDecoder } from './encoder-decoder.ts';
import { parseFields } from './fields.ts';
import { readAny } from './hugging-face-checkpoint.ts';
import type { LanguageModel, ModelOptions } from './model.ts';

/** A file's bytes by its name, or what reads them; undefined if there is no such file. */
export type ModelFiles =
  | Readonly<Record<string, FileBytes>>
  | ((name: string) => Promise<FileBytes | undefined> | FileBytes | undefined);

interface Tokens {
  /** The token that begins a text, if the model has one. */
  readonly beginToken: number | undefined;
  /** Tokens that end a text. */
  readonly endTokens: readonly number[];
}

/** A model, by what it does. */
export type LoadedModel = Tokens &
  (
    | { readonly kind: 'decoder'; readonly model: LanguageModel }
    | { readonly kind: 'encoder'; readonly model: TextEncoder }
    | { readonly kind: 'image-encoder'; readonly model: ImageEncoder }
    | { readonly kind: 'encoder-decoder'; readonly model: EncoderDecoder }
  );

/** The kinds of models. */
export type ModelKind = LoadedModel['kind'];

export interface LoadModelOptions<Kind extends ModelKind = ModelKind> extends ModelOptions {
  /** The kind that is wanted: another is an error, and the result has its type. */
  kind?: Kind;
}

/**
 * Loads a model as Hugging Face's transformers save it: config.json, and model.safetensors or the shards that
 * model.safetensors.index.json names. Weights may be F32, F16 or BF16. The architectures are those of Llama, Mistral, Qwen 2 and
 * 3, Gemma 2 and 3, Phi-3, OLMo 2, SmolLM3, GPT-2, BERT, ModernBERT, ViT, T5 and BART.
 *
 *     const { model, endTokens } = await loadModel(device, './SmolLM3-3B', { kind: 'decoder', dtype: 'float16' });
 *
 * @param source a folder (in a browser its address), or its files
 * @returns the model with its kind; the caller disposes it
 * @throws LoadError for another architecture, an unsupported option, files that are missing or not what they should be, and
 *   missing, unexpected or misshapen weights
 * @throws ArgumentError for arguments that do not fit, or a model that the device cannot hold
 */
export async function loadModel<Kind extends ModelKind = ModelKind>(
  device: Device,
  source: string | ModelFiles,
  options: LoadModelOptions<Kind> = {},
): Promise<Extract<LoadedModel, { kind: Kind }>> {
  const call = 'loadModel';
  checkOptions(call, options, ['dtype', 'maxLength', 'kind']);
  const { kind, ...modelOptions } = options;
  if (kind !== undefined) {
    checkChoice(call, 'kind', kind, ['decoder', 'encoder', 'image-encoder', 'encoder-decoder']);
  }
  const readFile = reader(call, source);
  const config = await readFile('config.json');
  if (!config) throw new LoadError(`${call}: source must have config.json, got none`);
  const {
    architecture,
    kind: found,
    checkpoint,
  } = readAny(call, new TextDecoder().decode(config), async () => shards(call, readFile));
  if (kind !== undefined && kind !== found) {
    throw new LoadError(`${call}: source must be a model of the kind '${kind}', got ${architecture.name}, '${found}'`);
  }
  const read = await checkpoint();
  const { beginToken, endTokens } = read;
  const model = architecture.create(device, read, modelOptions);
  return { kind: found, model, beginToken, endTokens } as Extract<LoadedModel, { kind: Kind }>;
}

function reader(call: string, source: unknown): (name: string) => Promise<Uint8Array | undefined> {
  if (typeof source === 'string') return readFolder(source);
  if (typeof source === 'function') {
    return async (name) => {
      const file: unknown = await (source as (name: string) => unknown)(name);
      return file === undefined ? undefined : bytesOf(call, name, file);
    };
  }
  if (source === null || typeof source !== 'object' || ArrayBuffer.isView(source)) {
    throw new ArgumentError(`${call}: source must be a folder, or files by name, got ${describe(source)}`);
  }
  const files = source as Readonly<Record<string, unknown>>;
  return async (name) => (Object.hasOwn(files, name) ? bytesOf(call, name, files[name]) : undefined);
}

/** The files that hold the weights. */
async function shards(call: string, read: (name: string) => Promise<Uint8Array | undefined>): Promise<Uint8Array[]> {
  const whole = await read('model.safetensors');
  if (whole) return [whole];
  const place = 'model.safetensors.index.json';
  const index = await read(place);
  if (!index) throw new LoadError(`${call}: source must have model.safetensors or ${place}, got neither`);
  const fields = parseFields(call, place, new TextDecoder().decode(index));
  const names = [...new Set(fields.entries('weight_map').map(([, name]) => name))];
  // names of files beside it, which lead to no other folder
  const isName = (name: unknown): name is string => typeof name === 'string' && /^[^/\\:\0]+\.safetensors$/.test(name);
  if (names.length === 0 || !names.every(isName)) fields.fail('weight_map', 'name .safetensors beside it');
  const files = await Promise.all((names as string[]).map(async (name) => [name, await read(name)] as const));
  const missing = files.flatMap(([name, file]) => (file ? [] : [`'${name}' is missing`]));
  if (missing.length > 0) throw new LoadError(`${call}: source must have the files of ${place}: ${listFirst(missing)}`);
  return files.map(([, file]) => file!);
}
