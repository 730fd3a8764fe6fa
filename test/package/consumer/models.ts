/** A user's program that generates text. */
import { createDevice } from 'webgpu-attention';
import {
  generate,
  Llama,
  readHuggingFaceLlama,
  readHuggingFaceTokenizer,
  readLlama2c,
  type GenerateOptions,
  type GenerateResult,
  type LanguageModel,
  type LlamaConfig,
  type Tokenizer,
} from 'webgpu-attention/models';

export async function write(config: string, weights: Uint8Array, text: string): Promise<GenerateResult> {
  const tokenizer: Tokenizer = readHuggingFaceTokenizer(text);
  const checkpoint = readHuggingFaceLlama(config, [weights]);
  const dims: LlamaConfig = checkpoint.config;
  const device = await createDevice();
  const model: LanguageModel = new Llama(device, dims.vocabSize > 0 ? checkpoint : readLlama2c(weights));
  const options: GenerateOptions = { maxTokens: 8, temperature: 0, endTokens: checkpoint.endTokens };
  const steps = generate(model, tokenizer.encode('once'), options);
  const stream = tokenizer.stream();
  for (;;) {
    const step = await steps.next();
    if (step.done) return step.value;
    stream.push(step.value);
  }
}
