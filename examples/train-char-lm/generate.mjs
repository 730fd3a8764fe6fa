import { noGrad, sample } from 'webgpu-attention';

/**
 * Goes on from a prompt, one character at a time: the model reads the last `config.length` of them and a next one is drawn.
 *
 * @param {import('../training/transformer.mjs').Transformer} model
 * @param {Int32Array} prompt
 * @param {{ count: number, temperature: number, seed: number }} options
 * @returns {Promise<number[]>} the prompt and what follows
 */
export async function generate(model, prompt, { count, temperature, seed }) {
  const { device, config } = model;
  const text = Array.from(prompt);
  for (let step = 0; step < count; step++) {
    const seen = text.slice(-config.length);
    const drawn = noGrad(() =>
      device.scope(() => {
        const logits = model.forward(device.tensor(Int32Array.from(seen), [1, seen.length]));
        return sample(logits.slice(1, -1).reshape([1, config.vocabulary]), { temperature, seed, step });
      }),
    );
    text.push((await drawn.data())[0]);
    drawn.dispose();
  }
  return text;
}
