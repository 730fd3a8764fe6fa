/** The loop of both training examples: AdamW, clipped gradients, a schedule, validation, checkpoints, a curve. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AdamW, clipGradNorm, noGrad } from 'webgpu-attention';
import { loadCheckpoint, saveCheckpoint } from './checkpoint.mjs';
import { drawLossCurve } from './loss-curve.mjs';
import { formatTime, Progress } from './progress.mjs';

const BETAS = [0.9, 0.99];
const WEIGHT_DECAY = 0.1;
const MAX_NORM = 1;
/** The rate at the end, as a share of the highest. */
const LAST_RATE = 0.1;
/** Losses stay on the GPU for so many steps, so that the host records the next one while the GPU is at work. */
const READ_EVERY = 10;

/**
 * @typedef {object} Task
 * @property {string} title
 * @property {string} unit of the loss
 * @property {number} tokensPerStep
 * @property {(step: number) => import('webgpu-attention').Tensor} loss of a step's batch, a scalar
 * @property {() => Promise<Record<string, number>>} validate
 * @property {Readonly<Record<string, number>>} levels to compare the losses with
 *
 * @typedef {object} State what a checkpoint holds beside tensors
 * @property {number} step how many are done
 * @property {number[]} training the loss of each
 * @property {{ step: number, losses: Record<string, number> }[]} validation
 * @property {object} options those that the run began with
 */

/** Rises in a straight line for `warmup` steps, then falls as half a cosine. `step` counts from 0. */
export function rateAt(step, { steps, warmup, rate }) {
  if (step < warmup) return (rate * (step + 1)) / warmup;
  const progress = (step - warmup) / Math.max(1, steps - warmup);
  return rate * (LAST_RATE + ((1 - LAST_RATE) * (1 + Math.cos(Math.PI * progress))) / 2);
}

/**
 * Trains until `options.steps`, until `options.stop`, or until the signal is aborted. In `options.out` are then `checkpoint.safetensors` and
 * `loss.svg`, as they were at the last validation, which an aborted signal also brings about. The model is then in eval mode.
 *
 * @param {object} run
 * @param {import('webgpu-attention').Device} run.device
 * @param {import('webgpu-attention').Module} run.model
 * @param {Task} run.task
 * @param {{ isTTY?: boolean, write(text: string): void }} [run.stream] for progress; default stderr
 * @param {AbortSignal} [run.signal] ends the run after the present step
 * @param {object} options `steps`, `warmup`, `rate`, `every` (steps between validations), `stop`, `resume`, `out`, and
 *   `seed`, from which dropout draws (default the device's)
 * @returns {Promise<State & { seconds: number }>}
 */
export async function train({ device, model, task, stream, signal }, options) {
  const optimiser = new AdamW(model.namedParameters(), { lr: options.rate, betas: BETAS, weightDecay: WEIGHT_DECAY });
  await mkdir(options.out, { recursive: true });
  const file = join(options.out, 'checkpoint.safetensors');
  const state = options.resume
    ? await loadCheckpoint(file, { device, model, optimiser })
    : { step: 0, training: [], validation: [], options };
  if (!options.resume && options.seed !== undefined) device.seed = options.seed;
  const end = Math.min(options.steps, options.stop ?? options.steps);
  if (state.step < end)
    await compile(device, () => trainingStep(device, model, optimiser, () => task.loss(state.step)), stream);
  const progress = new Progress(end, stream);
  const pace = new Pace(task.tokensPerStep);
  const began = performance.now();
  let unread = [];

  while (state.step < end) {
    optimiser.lr = rateAt(state.step, options);
    unread.push(trainingStep(device, model, optimiser, () => task.loss(state.step)));
    state.step++;
    const isLast = state.step === end || signal?.aborted; // a signal that comes in what follows ends the next step
    const isDue = state.step % options.every === 0 || isLast;
    if (isDue || unread.length === READ_EVERY) {
      for (const loss of unread) {
        state.training.push((await loss.data())[0]);
        loss.dispose();
      }
      unread = [];
      pace.note(state.step);
      progress.show(state.step, describe(state, pace, end));
    }
    if (isDue) {
      const losses = await evaluate(model, task);
      state.validation.push({ step: state.step, losses });
      await saveCheckpoint(file, { device, model, optimiser }, state);
      await writeFile(join(options.out, 'loss.svg'), drawLossCurve({ ...task, ...state }));
      pace.rest();
    }
    if (isLast) break;
  }
  progress.clear();
  optimiser.dispose();
  model.eval();
  return { ...state, seconds: (performance.now() - began) / 1000 };
}

/** Compiles the kernels of a step. Nothing of the step stays. */
async function compile(device, step, stream) {
  let progress;
  await device.prepare(step, {
    onProgress: ({ done, total }) => (progress ??= new Progress(total, stream)).show(done, 'kernels compiled'),
  });
  progress?.clear();
}

/** One step of the optimiser. Waits for nothing; the loss may be read whenever. */
function trainingStep(device, model, optimiser, lossOf) {
  return device.scope(() => {
    const loss = lossOf();
    loss.backward();
    clipGradNorm(model.parameters(), MAX_NORM);
    optimiser.step();
    optimiser.zeroGrad();
    return loss;
  });
}

async function evaluate(model, task) {
  model.eval();
  const losses = await task.validate();
  model.train();
  return losses;
}

/** The mean over batches of what `lossOf` gives for each, unrecorded. */
export async function meanLoss(device, batches, lossOf) {
  let sum = 0;
  for (const batch of batches) {
    const loss = noGrad(() => device.scope(() => lossOf(batch)));
    sum += (await loss.data())[0];
    loss.dispose();
  }
  return sum / batches.length;
}

/** Tokens a second, without the time that validation takes and the first steps'. */
class Pace {
  #tokensPerStep;
  #seconds = 0;
  #steps = 0;
  #last;

  constructor(tokensPerStep) {
    this.#tokensPerStep = tokensPerStep;
  }

  note(step) {
    const now = performance.now() / 1000;
    if (this.#last) {
      this.#steps += step - this.#last.step;
      this.#seconds += now - this.#last.now;
    }
    this.#last = { step, now };
  }

  rest() {
    if (this.#last) this.#last.now = performance.now() / 1000;
  }

  get tokens() {
    return this.#steps > 0 ? (this.#steps * this.#tokensPerStep) / this.#seconds : undefined;
  }

  secondsFor(steps) {
    return this.#steps > 0 ? (steps * this.#seconds) / this.#steps : undefined;
  }
}

function describe({ step, training, validation }, pace, end) {
  const recent = training.slice(-READ_EVERY);
  const mean = recent.reduce((sum, loss) => sum + loss, 0) / recent.length;
  const validated = Object.entries(validation.at(-1)?.losses ?? {}).map(([name, loss]) => `${name} ${loss.toFixed(3)}`);
  const speed = pace.tokens && [
    `${pace.tokens.toFixed(0)} tokens/s`,
    `${formatTime(pace.secondsFor(end - step))} left`,
  ];
  return [`loss ${mean.toFixed(3)}`, ...validated, ...(speed ?? [])].join(', ');
}
