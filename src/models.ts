export { Llama } from './models/llama.ts';
export type { LlamaCheckpoint, LlamaConfig } from './models/llama.ts';
export type {
  HostWeight,
  LanguageModel,
  LanguageModelConfig,
  ModelOptions,
  ModelOptions as LlamaOptions,
} from './models/model.ts';
export type {
  ModelCache,
  ModelCache as LlamaCache,
  ModelCacheOptions,
  ModelCacheOptions as LlamaCacheOptions,
} from './models/model-cache.ts';
export { readLlama2c } from './models/llama2c-checkpoint.ts';
export { readHuggingFaceLlama } from './models/hugging-face-checkpoint.ts';
export { readLlama2cTokenizer } from './models/llama2c-tokenizer.ts';
export { readHuggingFaceTokenizer } from './models/hugging-face-tokenizer.ts';
export type { TextStream, Tokenizer } from './models/tokenizer.ts';
export { generate } from './models/generate.ts';
export type { GenerateOptions, GenerateResult } from './models/generate.ts';
