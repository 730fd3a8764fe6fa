/**
 * Trains the playground's model on stories that a program tells, and writes what the page loads: config.json,
 * tokenizer.json and model.safetensors (float16), as Hugging Face stores a Llama.
 *
 *     npm run playground:train                        some minutes on a GPU, an hour on a CPU
 *     npm run playground:train -- --smoke --out DIR   a few steps, to see that all works
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';
import { cast, createDevice, crossEntropy, noGrad, saveSafetensors } from 'webgpu-attention';
import { generate, Llama, readHuggingFaceLlama, readHuggingFaceTokenizer } from 'webgpu-attention/models';
import { readOptions } from '../../examples/training/options.mjs';
import { formatTime } from '../../examples/training/progress.mjs';
import { randomOf } from '../../examples/training/random.mjs';
import { meanLoss, train } from '../../examples/training/train.mjs';
import { learnPairs } from './byte-pairs.mjs';
import { tellStory } from './stories.mjs';

const VOCABULARY = 640;
/** Stories that the tokenizer is learned from. */
const SAMPLE = 4000;
/** The streams of random numbers of steps count from 1; these are apart from them. */
const STREAMS = { tokenizer: 2 ** 30, validation: 2 ** 30 + 1 };
const VALIDATION_BATCHES = 4;

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const options = readOptions(
  'npm run playground:train --',
  {
    steps: { help: 'updates of the weights', default: 3000 },
    batch: { help: 'texts a step', default: 16 },
    length: { help: 'tokens a text', default: 128 },
    width: { help: 'of the vectors inside', default: 64 },
    hidden: { help: 'width inside of feed-forward blocks', default: 160 },
    layers: { help: 'blocks of attention and feed-forward', default: 4 },
    heads: { help: 'of attention', default: 4 },
    rate: { help: 'highest learning rate', default: 0.004 },
    warmup: { help: 'steps until it', default: 100 },
    every: { help: 'steps from one validation and checkpoint to the next', default: 100 },
    seed: { help: 'of weights and stories', default: 1 },
    out: { help: 'folder for the checkpoint and the curve', default: 'runs/playground' },
    model: { help: 'folder for the model', default: here('../model') },
  },
  { steps: 4, batch: 2, length: 32, width: 16, hidden: 32, layers: 1, heads: 2, warmup: 2, every: 2 },
);

const { module } = await runnerImport(here('../network.ts'));
const device = await createDevice({ adapter: options.adapter });
const { batch, length, seed } = options;

const told = randomOf(seed, STREAMS.tokenizer);
const files = { tokenizer: learnPairs(Array.from({ length: SAMPLE }, () => tellStory(told)).join(''), VOCABULARY) };
const [beginToken] = readHuggingFaceTokenizer(JSON.stringify(files.tokenizer)).encode('\n');
// every text begins with the end of the story before it, which gives attention a place to rest
files.tokenizer.post_processor = {
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: '\n', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  pair: [],
  special_tokens: { '\n': { id: '\n', ids: [beginToken], tokens: ['\n'] } },
};
const tokenizer = readHuggingFaceTokenizer(JSON.stringify(files.tokenizer));

const config = {
  vocabSize: VOCABULARY,
  embedDim: options.width,
  hiddenDim: options.hidden,
  numLayers: options.layers,
  numHeads: options.heads,
  maxLength: length,
};
const model = new module.Network(device, config, seed);

/** Stories from their beginning, cut after `length` tokens. */
function stories(random) {
  const tokens = new Int32Array(batch * length);
  const targets = new Int32Array(batch * length);
  for (let row = 0; row < batch; row++) {
    let text = '';
    let encoded = [];
    while (encoded.length <= length) {
      text += tellStory(random);
      encoded = tokenizer.encode(text);
    }
    tokens.set(encoded.slice(0, length), row * length);
    targets.set(encoded.slice(1, length + 1), row * length);
  }
  return { tokens: device.tensor(tokens, [batch, length]), targets: device.tensor(targets, [batch, length]) };
}

const lossOf = ({ tokens, targets }) => crossEntropy(model.forward(tokens), targets);
const unseen = randomOf(seed, STREAMS.validation);
const batches = Array.from({ length: VALIDATION_BATCHES }, () => stories(unseen));
const task = {
  title: "The playground's model",
  unit: 'loss, nats a token',
  tokensPerStep: batch * length,
  levels: {},
  loss: (step) => lossOf(stories(randomOf(seed, step + 1))),
  validate: async () => ({ validation: await meanLoss(device, batches, lossOf) }),
};
const interruption = new AbortController();
process.once('SIGINT', () => interruption.abort());
const { step, validation, seconds } = await train({ device, model, task, signal: interruption.signal }, options);
console.log(
  `Step ${step}, ${formatTime(seconds)}, loss ${validation.at(-1).losses.validation.toFixed(3)} nats a token`,
);

const weights = noGrad(() =>
  Object.fromEntries(Object.entries(model.stateDict()).map(([name, weight]) => [name, cast(weight, 'float16')])),
);
const bytes = await saveSafetensors(weights);
const text = JSON.stringify(module.huggingFaceConfig(config, beginToken), null, 2);
await mkdir(options.model, { recursive: true });
await writeFile(join(options.model, 'model.safetensors'), bytes);
await writeFile(join(options.model, 'config.json'), `${text}\n`);
await writeFile(join(options.model, 'tokenizer.json'), `${JSON.stringify(files.tokenizer)}\n`);
console.log(
  `In ${options.model}: model.safetensors (${Math.round(bytes.length / 1000)} kB), config.json, tokenizer.json`,
);

const llama = new Llama(device, readHuggingFaceLlama(text, [bytes]));
const stream = tokenizer.stream();
let sampled = '';
for await (const token of generate(llama, tokenizer.encode('Once upon a time'), {
  temperature: 0.7,
  seed,
  maxTokens: 80,
})) {
  sampled += stream.push(token);
}
console.log(`\nOnce upon a time${sampled}`);
device.dispose();
