import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createDevice } from 'webgpu-attention';
import {
  generate,
  Llama,
  readHuggingFaceLlama,
  readHuggingFaceTokenizer,
  readLlama2c,
  readLlama2cTokenizer,
} from 'webgpu-attention/models';

const [model, tokenizerFile, prompt = ''] = process.argv.slice(2);
if (!tokenizerFile) {
  console.error('usage: node examples/llama/generate.mjs <model.bin> <tokenizer.bin> [prompt]');
  console.error('   or: node examples/llama/generate.mjs <folder> <folder>/tokenizer.json [prompt]');
  process.exit(1);
}

const isLlama2c = model.endsWith('.bin');
const checkpoint = isLlama2c
  ? readLlama2c(await readFile(model))
  : readHuggingFaceLlama(await readFile(join(model, 'config.json'), 'utf8'), [
      await readFile(join(model, 'model.safetensors')),
    ]);
const tokenizer = isLlama2c
  ? readLlama2cTokenizer(await readFile(tokenizerFile), checkpoint.config.vocabSize)
  : readHuggingFaceTokenizer(await readFile(tokenizerFile, 'utf8'));

const device = await createDevice();
const llama = new Llama(device, checkpoint);
const tokens = tokenizer.encode(prompt);
if (tokens.length === 0) tokens.push(checkpoint.beginToken);

// the first steps compile kernels, which is not to be timed
for await (const _ of generate(llama, tokens, { maxTokens: 2 }));

const text = tokenizer.stream();
for (const token of tokens) process.stdout.write(text.push(token));
const steps = generate(llama, tokens, { maxTokens: 200, temperature: 0, endTokens: checkpoint.endTokens });
let step = await steps.next();
for (; !step.done; step = await steps.next()) process.stdout.write(text.push(step.value));
process.stdout.write(`${text.end()}\n`);

const { promptTokens, tokens: written, prefillTime, decodeTime } = step.value;
console.error(`prefill: ${((1000 * promptTokens) / prefillTime).toFixed(1)} tokens/s`);
if (written > 1) console.error(`decode: ${((1000 * (written - 1)) / decodeTime).toFixed(1)} tokens/s`);

llama.dispose();
device.dispose();
