/** Reads language models and tokenizers from disk. */
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ArgumentError, LoadError } from '../index.ts';
import { readHuggingFaceTokenizer, readLlama2c, readLlama2cTokenizer } from '../models.ts';
import type { Tokenizer } from '../models.ts';
import { readHuggingFaceModel } from '../models/hugging-face-checkpoint.ts';
import { LLAMA } from '../models/llama.ts';
import type { Architecture, Checkpoint } from '../models/model.ts';
import { parseJson } from '../io/json.ts';
import { readBytes } from '../platform/files-node.ts';

/** A model on the host, which `architecture.create` brings to a device, and the tokenizer of its texts. */
export interface LoadedModel {
  readonly architecture: Architecture;
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
}

/**
 * Reads a model and its tokenizer: llama2.c's file, or a folder of Hugging Face's, or one .safetensors with its
 * config.json beside it.
 *
 * @param tokenizerPath tokenizer.json, or a folder that holds it, or llama2.c's tokenizer.bin; default the tokenizer.json
 *   beside a model of Hugging Face's
 * @throws LoadError for files that do not fit, and the system's error for files that cannot be read
 */
export async function loadModel(path: string, tokenizerPath?: string): Promise<LoadedModel> {
  const isFolder = (await stat(path)).isDirectory();
  if (!isFolder && !path.endsWith('.safetensors')) {
    const checkpoint = readLlama2c(await readBytes(path));
    if (tokenizerPath === undefined) {
      throw new ArgumentError("generate: --tokenizer must name the model's tokenizer.bin, got nothing");
    }
    const tokenizer = await readTokenizer(tokenizerPath, checkpoint.config.vocabSize);
    return { architecture: LLAMA, checkpoint, tokenizer };
  }
  const folder = isFolder ? path : dirname(path);
  const config = await readText(join(folder, 'config.json'));
  const shards = isFolder ? await shardsIn(folder) : [path];
  const files: Uint8Array[] = [];
  for (const shard of shards) files.push(await readBytes(shard));
  const model = readHuggingFaceModel('generate', config, files);
  const tokenizer = await readTokenizer(tokenizerPath ?? folder, model.checkpoint.config.vocabSize);
  return { ...model, tokenizer };
}

/** Reads tokenizer.json, or a folder that holds it, or llama2.c's tokenizer.bin, which must have the model's tokens. */
async function readTokenizer(path: string, vocabSize: number): Promise<Tokenizer> {
  const isFolder = (await stat(path)).isDirectory();
  const bytes = await readBytes(isFolder ? join(path, 'tokenizer.json') : path);
  const isJson = bytes[0] === 0x7b;
  return isJson ? readHuggingFaceTokenizer(new TextDecoder().decode(bytes)) : readLlama2cTokenizer(bytes, vocabSize);
}

/** Returns the files that model.safetensors.index.json names, or model.safetensors where there is no index. */
async function shardsIn(folder: string): Promise<string[]> {
  const indexPath = join(folder, 'model.safetensors.index.json');
  if (!(await exists(indexPath))) return [join(folder, 'model.safetensors')];
  const problem = (cause?: unknown): LoadError =>
    new LoadError(`generate: ${indexPath} must map weights to names of .safetensors in its folder`, { cause });
  let index: { weight_map?: unknown } | null;
  try {
    index = parseJson(await readText(indexPath)) as typeof index;
  } catch (cause) {
    throw problem(cause);
  }
  const names = [...new Set(Object.values(index?.weight_map ?? {}))];
  const areNames =
    names.length > 0 && names.every((name) => typeof name === 'string' && /^[^/\\:\0]+\.safetensors$/.test(name));
  if (!areNames) throw problem();
  return (names as string[]).map((name) => join(folder, name));
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function readText(path: string): Promise<string> {
  return new TextDecoder().decode(await readBytes(path));
}
