import { join } from 'node:path';
import { createDevice } from 'webgpu-attention';
import { readState } from '../training/checkpoint.mjs';
import { exportModel } from '../training/export.mjs';
import { readOptions } from '../training/options.mjs';
import { formatTime } from '../training/progress.mjs';
import { randomOf } from '../training/random.mjs';
import { train } from '../training/train.mjs';
import { costAt } from './cost.mjs';
import { batchOf, echo } from './echo.mjs';

const given = readOptions(
  'node examples/train-local/train.mjs',
  {
    steps: { help: 'updates of the weights', default: 150 },
    batch: { help: 'streams a step', default: 2 },
    length: { help: 'tokens a stream', default: 4096 },
    width: { help: 'of the vectors inside', default: 64 },
    layers: { help: 'blocks of attention and MLP', default: 1 },
    heads: { help: 'of attention', default: 2 },
    window: { help: 'windowSize of LocalAttention: half of it lies behind a token', default: 32 },
    rate: { help: 'highest learning rate', default: 0.005 },
    warmup: { help: 'steps until it', default: 20 },
    every: { help: 'steps from one validation and checkpoint to the next', default: 25 },
    seed: { help: 'of weights and streams', default: 1 },
    out: { help: 'folder for what is written', default: 'runs/train-local' },
  },
  { steps: 6, batch: 2, length: 128, width: 16, heads: 2, warmup: 2, every: 3 },
);
const { resume, out, stop } = given;
const began = resume ? (await readState(join(out, 'checkpoint.safetensors'))).options : given;
const options = { ...began, resume, out, stop };

const device = await createDevice({ adapter: given.adapter });
const { model, task } = echo(device, options);
const { length, batch } = options;
console.log(
  `Device: ${device.name}\n` +
    `Model: ${options.layers} layers of ${options.width}, ${options.heads} heads, window ${options.window}; ` +
    `${batch} streams of ${length} tokens a step`,
);

// Ctrl-C ends the run after the present step, and saves it; a second one ends the program
const interruption = new AbortController();
process.once('SIGINT', () => interruption.abort());
const { step, validation, seconds } = await train({ device, model, task, signal: interruption.signal }, options);
console.log(`\nStep ${step} of ${options.steps}, ${formatTime(seconds)}`);
for (const [name, loss] of Object.entries(validation.at(-1).losses)) {
  console.log(`Streams that repeat ${name} tokens: loss ${loss.toFixed(3)} nats a token`);
}
console.log(`A guess: ${task.levels['a guess'].toFixed(3)}`);
console.log(`In ${out}: checkpoint.safetensors, loss.svg`);

if (step === options.steps) {
  const checked = batchOf(device, { batch: 2, length: Math.min(length, 1024) }, randomOf(options.seed, step));
  await exportModel(out, model, checked);
  for (const tensor of Object.values(checked)) tensor.dispose();
  console.log(`In ${out} for PyTorch: model.safetensors, check.safetensors\n`);
  const costs = [];
  for (const times of [1, 4])
    costs.push({ length: times * length, ...(await costAt(model, { batch, length: times * length })) });
  for (const { length, seconds, kept, scores, loss } of costs) {
    console.log(
      `Length ${length}: forward and backward ${(1000 * seconds).toFixed(0)} ms, ${mebibytes(kept)} kept between them ` +
        `(scores of all pairs: ${mebibytes(scores)}); loss ${loss.toFixed(3)}`,
    );
  }
  const [first, second] = costs;
  console.log(
    `Four times the length: ${(second.seconds / first.seconds).toFixed(1)} times the time, ` +
      `${(second.kept / first.kept).toFixed(1)} times the memory`,
  );
}
model.dispose();
device.dispose();

function mebibytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
