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
  ForwardOptions,
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
export type { GenerateOptions, GenerateResult, Speculation } from './models/generate.ts';
export { loadModel } from './models/load-model.ts';
export type { LoadedModel, LoadModelOptions, ModelFiles, ModelKind } from './models/load-model.ts';
export type {
  EncodeOptions,
  ImageEncoder,
  ImageEncoderConfig,
  TextEncoder,
  TextEncoderConfig,
} from './models/encoder.ts';
export { EncodedText } from './models/encoder-decoder.ts';
export type { EncoderDecoder, EncoderDecoderConfig } from './models/encoder-decoder.ts';
