/** What another framework needs to load the model and to see that it computes the same. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crossEntropy, saveSafetensors } from 'webgpu-attention';

/**
 * Writes `model.safetensors`, the weights with the model's sizes in the metadata, and `check.safetensors`: a batch
 * `tokens`, `targets` [batch, length], the model's `logits` and `loss`, and the loss's gradient `gradient.…` of each weight.
 */
export async function exportModel(out, model, { tokens, targets }) {
  const weights = model.stateDict();
  const config = { config: JSON.stringify(model.config) };
  await writeFile(join(out, 'model.safetensors'), await saveSafetensors(weights, config));
  const { logits, loss } = model.device.scope(() => {
    const logits = model.forward(tokens);
    const loss = crossEntropy(logits, targets);
    loss.backward();
    return { logits, loss };
  });
  const gradients = Object.entries(weights).map(([name, weight]) => [`gradient.${name}`, weight.grad]);
  const check = { tokens, targets, logits, loss, ...Object.fromEntries(gradients) };
  await writeFile(join(out, 'check.safetensors'), await saveSafetensors(check));
  model.zeroGrad();
  logits.dispose();
  loss.dispose();
}
