/** Opens the GPU and fills the page's sections. */
import { createDevice, type Device } from 'webgpu-attention';
import { showAttention } from './attention/view.ts';
import { element } from './elements.ts';
import { showMissing } from './missing.ts';
import { loadNetwork } from './model.ts';
import { showModifier } from './modifier/view.ts';

async function start(): Promise<void> {
  let device: Device;
  try {
    device = await createDevice();
  } catch (error) {
    showMissing((error as Error).message);
    return;
  }
  const { info } = device;
  const name = info.device || info.description || [info.vendor, info.architecture].filter(Boolean).join(' ');
  element('device').textContent =
    `${name || 'A GPU without a name'}${info.isSoftware ? ' (a driver that runs on the CPU)' : ''}`;
  void device.gpu.lost.then(({ reason, message }) => {
    if (reason !== 'destroyed') element('device').textContent = `The GPU was lost: ${message} Reload the page.`;
  });
  showModifier(showAttention(await loadNetwork(device)));
}

start().catch((error: Error) => {
  element('attention-error').textContent = error.message;
  throw error;
});
