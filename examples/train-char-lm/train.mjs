import { join } from 'node:path';
import { createDevice } from 'webgpu-attention';
import { readState } from '../training/checkpoint.mjs';
import { exportModel } from '../training/export.mjs';
import { readOptions } from '../training/options.mjs';
import { formatTime } from '../training/progress.mjs';
import { train } from '../training/train.mjs';
import { charLm } from './char-lm.mjs';
import { generate } from './generate.mjs';
import { encode, readText } from './text.mjs';

const given = readOptions(
  'node examples/train-char-lm/train.mjs',
  {
    steps: { help: 'updates of the weights', default: 1600 },
    batch: { help: 'texts a step', default: 8 },
    length: { help: 'characters a text', default: 128 },
    width: { help: 'of the vectors inside', default: 64 },
    layers: { help: 'blocks of attention and MLP', default: 2 },
    heads: { help: 'of attention', default: 4 },
    dropout: { help: 'share of weights and activations that a step drops', default: 0, isShare: true },
    rate: { help: 'highest learning rate', default: 0.004 },
    warmup: { help: 'steps until it', default: 50 },
    every: { help: 'steps from one validation and checkpoint to the next', default: 100 },
    seed: { help: 'of weights, batches, dropout and samples', default: 1 },
    text: { help: "a text file of one's own" },
    out: { help: 'folder for what is written', default: 'runs/train-char-lm' },
  },
  { steps: 6, batch: 2, length: 16, width: 16, layers: 1, heads: 2, dropout: 0.1, warmup: 2, every: 3 },
);
const { resume, out, stop } = given;
const began = resume ? (await readState(join(out, 'checkpoint.safetensors'))).options : given;
const options = { ...began, resume, out, stop };

const device = await createDevice({ adapter: given.adapter });
const text = await readText(options.text);
const { characters } = text;
const { model, task, checked, dispose } = charLm(device, text, options);
const weights = model.parameters().reduce((sum, { size }) => sum + size, 0);
console.log(
  `Device: ${device.name}\n` +
    `Text: ${text.training.length} characters to train on, ${text.validation.length} to validate on, ${characters.length} different\n` +
    `Model: ${options.layers} layers of ${options.width}, ${options.heads} heads, ${weights} weights`,
);

// Ctrl-C ends the run after the present step, and saves it; a second one ends the program
const interruption = new AbortController();
process.once('SIGINT', () => interruption.abort());
const { step, validation, seconds } = await train({ device, model, task, signal: interruption.signal }, options);
const loss = validation.at(-1).losses.validation;
console.log(`\nStep ${step} of ${options.steps}, ${formatTime(seconds)}`);
console.log(`Validation loss ${loss.toFixed(3)} nats a character; bigram model ${task.levels.bigram.toFixed(3)}`);
console.log(`In ${out}: checkpoint.safetensors, loss.svg`);

if (step === options.steps) {
  await exportModel(out, model, checked);
  console.log(`In ${out} for PyTorch: model.safetensors, check.safetensors`);
  for (const temperature of [0.5, 0.8]) {
    const prompt = encode('The ', characters);
    const sampled = await generate(model, prompt, { count: 240, temperature, seed: options.seed });
    console.log(`\nAt temperature ${temperature}:\n${sampled.map((number) => characters[number]).join('')}`);
  }
}
dispose();
device.dispose();
