/** Text from the trained model, as the library's own `Llama`. */
import type { Device } from 'webgpu-attention';
import { generate, Llama } from 'webgpu-attention/models';
import type { Generated, Line, Tasks } from '../background/tasks.ts';
import { loadCheckpoint, tokenizer } from '../model.ts';

let loaded: { device: Device; result: ReturnType<typeof load> } | undefined;

async function load(device: Device): Promise<{ model: Llama; endTokens: readonly number[] }> {
  const checkpoint = await loadCheckpoint();
  return { model: new Llama(device, checkpoint), endTokens: checkpoint.endTokens };
}

export async function continueText(
  device: Device,
  { prompt, temperature }: Tasks['generate']['input'],
  { emit, signal }: Line<string>,
): Promise<Generated> {
  // again on another device, and after it failed
  if (loaded?.device !== device) loaded = { device, result: load(device) };
  loaded.result.catch(() => (loaded = undefined));
  const { model, endTokens } = await loaded.result;
  const tokens = tokenizer.encode(prompt.trimEnd()).slice(0, model.maxLength);
  const seed = Math.floor(Math.random() * 2 ** 31);
  const text = generate(model, tokens, { temperature, seed, endTokens, signal });
  const stream = tokenizer.stream();
  for (;;) {
    const { done, value } = await text.next();
    if (done) return { tokens: value.tokens, prefillTime: value.prefillTime, decodeTime: value.decodeTime };
    emit(stream.push(value));
  }
}
