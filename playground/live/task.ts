/** Trains a small model on stories from nothing, as the visitor watches. */
import { AdamW, clipGradNorm, crossEntropy, noGrad, type Device } from 'webgpu-attention';
import type { Line, Tasks, TrainEvent } from '../background/tasks.ts';
import { tokenizer } from '../model.ts';
import { Network } from '../network.ts';
import { tellStory } from '../training/stories.mjs';

const BATCH = 8;
const LENGTH = 64;
const SIZES = { embedDim: 48, hiddenDim: 128, numLayers: 2, numHeads: 3, maxLength: 128 };
const RATE = 0.006;
/** The rate rises over so many steps. */
const WARMUP = 20;
const MAX_NORM = 1;
/** Steps from one sample of the model's writing to the next. */
const SAMPLE_EVERY = 20;
const PROMPT = 'Anna had a red';
const SAMPLE_TOKENS = 24;

export async function trainLive(
  device: Device,
  { steps }: Tasks['train']['input'],
  { emit, signal }: Line<TrainEvent>,
): Promise<void> {
  using model = new Network(device, { ...SIZES, vocabSize: tokenizer.vocabSize }, Math.floor(Math.random() * 2 ** 20));
  using optimiser = new AdamW(model.namedParameters(), { lr: RATE, betas: [0.9, 0.99], weightDecay: 0.1 });
  for (let step = 1; step <= steps && !signal.aborted; step++) {
    optimiser.lr = RATE * Math.min(1, step / WARMUP);
    const loss = device.scope(() => {
      const { tokens, targets } = stories(device);
      const loss = crossEntropy(model.forward(tokens), targets);
      loss.backward();
      clipGradNorm(model.parameters(), MAX_NORM);
      optimiser.step();
      optimiser.zeroGrad();
      return loss;
    });
    const [value] = await loss.data();
    loss.dispose();
    emit({ step, loss: value });
    if (step === 1 || step % SAMPLE_EVERY === 0) emit({ sample: await write(model, signal) });
  }
}

/** New stories at every step, so that nothing can be learned by heart. */
function stories(device: Device) {
  const tokens = new Int32Array(BATCH * LENGTH);
  const targets = new Int32Array(BATCH * LENGTH);
  for (let row = 0; row < BATCH; row++) {
    let text = '';
    let encoded: number[] = [];
    while (encoded.length <= LENGTH) {
      text += tellStory(Math.random);
      encoded = tokenizer.encode(text);
    }
    tokens.set(encoded.slice(0, LENGTH), row * LENGTH);
    targets.set(encoded.slice(1, LENGTH + 1), row * LENGTH);
  }
  return { tokens: device.tensor(tokens, [BATCH, LENGTH]), targets: device.tensor(targets, [BATCH, LENGTH]) };
}

/** The likeliest tokens after the prompt. */
async function write(model: Network, signal: AbortSignal): Promise<string> {
  const { device } = model;
  const tokens = tokenizer.encode(PROMPT);
  for (let i = 0; i < SAMPLE_TOKENS && !signal.aborted; i++) {
    const logits = noGrad(() =>
      device.scope(() => {
        const ids = device.tensor(Uint32Array.from(tokens), [1, tokens.length]);
        return model.forward(ids).slice(1, tokens.length - 1, tokens.length);
      }),
    );
    const scores = Float32Array.from(await logits.data());
    logits.dispose();
    tokens.push(scores.reduce((best, score, token) => (score > scores[best] ? token : best), 0));
  }
  return tokenizer.decode(tokens).trim();
}
