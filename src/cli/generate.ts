/** The command `generate`: a language model writes text. */
import { ArgumentError, sample } from '../index.ts';
import { generate } from '../models.ts';
import type { Device, FloatDType } from '../index.ts';
import type { GenerateOptions, GenerateResult, LanguageModel, Tokenizer } from '../models.ts';
import { loadModel, type LoadedModel } from './model-files.ts';
import { deviceLine } from '../display/text.ts';

/** Options as the user typed them. */
export interface GenerateWords {
  readonly model?: string;
  readonly tokenizer?: string;
  readonly prompt?: string;
  readonly tokens?: string;
  readonly temperature?: string;
  readonly seed?: string;
  readonly dtype?: string;
  readonly cacheDtype?: string;
  readonly paged?: boolean;
  readonly lookup?: boolean;
}

/** Maximum number of prompt tokens that kernels are compiled with. A longer prompt takes the same kernels. */
const PROMPT_TO_COMPILE = 512;

export interface GenerateTerminal {
  /** Receives the text, piece by piece. */
  readonly write: (text: string) => void;
  /** Receives lines about the text. */
  readonly note: (line: string) => void;
  /** Receives a line about what is under way, and '' at the end. */
  readonly progress?: (line: string) => void;
}

/**
 * Reads the model and its tokenizer, so that errors in them come before a device is opened.
 *
 * @returns the work to do on the device
 * @throws ArgumentError for options that do not fit, LoadError for files that do not
 */
export async function prepareGenerate(
  words: GenerateWords,
  { write, note, progress }: GenerateTerminal,
): Promise<(device: Device) => Promise<void>> {
  const { model: path, prompt, paged, lookup } = words;
  if (path === undefined) throw new ArgumentError('generate: --model must name a file or folder, got nothing');
  const maxTokens = countOf('tokens', words.tokens, 1) ?? 256;
  const temperature = temperatureOf(words.temperature);
  const seed = countOf('seed', words.seed, 0) ?? Math.floor(Math.random() * 2 ** 31);
  const dtype = dtypeOf('dtype', words.dtype) ?? 'float32';
  const cacheDType = dtypeOf('cache-dtype', words.cacheDtype) ?? dtype;

  const loaded = await loadModel(path, words.tokenizer);
  const { architecture, checkpoint, tokenizer } = loaded;
  const { config, endTokens } = checkpoint;
  const tokens = promptTokens(tokenizer, prompt, checkpoint.beginToken);
  if (tokens.length > config.maxLength) {
    throw new ArgumentError(
      `generate: --prompt must have at most the model's ${config.maxLength} tokens, got ${tokens.length}`,
    );
  }
  return async (device) => {
    note(`Device: ${deviceLine(device.info)}`);
    note(`Model: ${describeModel(loaded)}, in ${dtype}; ${paged ? 'paged ' : ''}keys and values in ${cacheDType}`);
    const maxLength = Math.min(config.maxLength, tokens.length + maxTokens);
    using model = architecture.create(device, checkpoint, { dtype, maxLength });
    const cacheKind = paged ? 'paged' : 'contiguous';
    const options = { temperature, seed, endTokens, cacheDType, cacheKind } as const;
    const begin = performance.now();
    await compile(model, tokens, options, progress);
    note(`Kernels compiled in ${((performance.now() - begin) / 1000).toFixed(2)} s`);
    const text = tokenizer.stream();
    for (const token of tokens) write(text.push(token));
    const steps = generate(model, tokens, { ...options, maxTokens, ...(lookup && { draft: 'prompt' as const }) });
    let step = await steps.next();
    for (; !step.done; step = await steps.next()) write(text.push(step.value));
    write(`${text.end()}\n`);
    for (const line of describeResult(step.value)) note(line);
    if (temperature > 0) note(`Seed: ${seed}`);
  };
}

/** Compiles the kernels of the end of the prompt and of one more token, before steps are timed. */
async function compile(
  model: LanguageModel,
  tokens: readonly number[],
  { temperature, seed, cacheKind, cacheDType }: GenerateOptions,
  progress: GenerateTerminal['progress'],
): Promise<void> {
  const { device, maxLength } = model;
  const prompt = Uint32Array.from(tokens.slice(-PROMPT_TO_COMPILE));
  const capacity = Math.min(prompt.length + 1, maxLength);
  using cache = model.createCache({ kind: cacheKind, dtype: cacheDType, capacity });
  const work = (): void => {
    const ids = device.tensor(prompt, [1, prompt.length]);
    const next = sample(model.forward(ids, cache), { temperature, seed });
    if (prompt.length < capacity) sample(model.forward(next.reshape([1, 1]), cache), { temperature, seed });
  };
  try {
    await device.prepare(work, {
      onProgress: ({ done, total }) => progress?.(`compiling kernels: ${done}/${total} …`),
    });
  } finally {
    progress?.('');
  }
}

/** Returns the prompt's tokens, or the begin token alone where there are none. */
function promptTokens(tokenizer: Tokenizer, prompt: string | undefined, modelsBegin: number | undefined): number[] {
  const tokens = prompt === undefined ? [] : tokenizer.encode(prompt);
  if (tokens.length > 0) return tokens;
  const begin = tokenizer.beginToken ?? modelsBegin;
  if (begin !== undefined) return [begin];
  throw new ArgumentError('generate: --prompt must hold text, because the model has no begin token, got nothing');
}

function describeModel({ architecture, checkpoint }: LoadedModel): string {
  const { numLayers, embedDim, numHeads, numKvHeads, vocabSize, maxLength } = checkpoint.config;
  return (
    `${architecture.name} with ${numLayers} layers of ${embedDim}, ${numHeads} heads, ${numKvHeads} key heads, ` +
    `${vocabSize} tokens, ${maxLength} positions`
  );
}

function describeResult(result: GenerateResult): string[] {
  const { promptTokens, tokens, reason, speculation, prefillTime, decodeTime } = result;
  const lines = [`Prefill: ${speed(promptTokens, prefillTime)}`];
  // the first token comes with the prefill; the end token takes a step but is not counted
  const steps = reason === 'end' ? tokens : tokens - 1;
  if (steps > 0) lines.push(`Decode: ${speed(steps, decodeTime)}`);
  if (speculation && speculation.steps > 0) {
    const { steps: checks, drafted, accepted } = speculation;
    const each = ((checks + accepted) / checks).toFixed(2);
    lines.push(`Drafts: ${accepted} of ${drafted} accepted, ${each} tokens a step`);
  }
  lines.push(reason === 'end' ? 'The text ended by itself.' : 'The text was cut off by its length.');
  return lines;
}

function speed(tokens: number, milliseconds: number): string {
  const seconds = milliseconds / 1000;
  return `${tokens} ${tokens === 1 ? 'token' : 'tokens'} in ${seconds.toFixed(2)} s, ${(tokens / seconds).toFixed(1)} tokens/s`;
}

function countOf(option: string, word: string | undefined, least: number): number | undefined {
  if (word === undefined) return undefined;
  const count = word.trim() === '' ? NaN : Number(word);
  if (Number.isSafeInteger(count) && count >= least) return count;
  throw new ArgumentError(`generate: --${option} must be a whole number of ${least} or more, got '${word}'`);
}

function temperatureOf(word: string | undefined): number {
  if (word === undefined) return 1;
  const temperature = word.trim() === '' ? NaN : Number(word);
  if (temperature >= 0 && Number.isFinite(temperature)) return temperature;
  throw new ArgumentError(`generate: --temperature must be a number of 0 or more, got '${word}'`);
}

function dtypeOf(option: string, word: string | undefined): FloatDType | undefined {
  if (word === undefined || word === 'float32' || word === 'float16') return word;
  throw new ArgumentError(`generate: --${option} must be float32 or float16, got '${word}'`);
}
