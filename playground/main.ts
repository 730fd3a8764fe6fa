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
  element('device').textContent = `${device.name}${device.info.isSoftware ? ' (a driver that runs on the CPU)' : ''}`;
  void device.gpu.lost.then(({ reason, message }) => {
    if (reason !== 'destroyed') element('device').textContent = `The GPU was lost: ${message} Reload the page.`;
  });
  await Promise.all([
    loadNetwork(device).then((network) => showModifier(showAttention(network))),
    // these have a library of charts with them, which the matrix need not wait for
    import('./compare/view.ts').then(({ showCompare }) => showCompare()),
    import('./measure/view.ts').then(({ showMeasure }) => showMeasure()),
    import('./text/view.ts').then(({ showText }) => showText()),
    import('./live/view.ts').then(({ showTraining }) => showTraining()),
  ]);
}

start().catch((error: Error) => {
  element('attention-error').textContent = error.message;
  throw error;
});
