/**
 * Opens devices. The class `Device` is below the ops and cannot import them, but `device.tune()` measures ops and
 * `tensor.backward()` runs them. This file is above all of them, and gives a new device its tuner, its tape and its random numbers.
 * The tuner knows every kernel, and tensor cores have kernels of their own, so these are loaded only where they are used.
 */
import { makeTape } from './autograd/tape.ts';
import { planRandom } from './kernels/elementwise.ts';
import { clone, reshape } from './ops/copy.ts';
import { accumulate } from './ops/internal/copy.ts';
import { sumTo } from './ops/sum.ts';
import { openDevice, type Device, type DeviceOptions } from './tensor/device.ts';
import { ownerOf, recall } from './tuning/memory.ts';
import { offersMatrices } from './tuning/offers-matrices.ts';

/**
 * Opens a GPU. Ops take the kernels that `kernels` names, else those that `device.tune()` found earlier on the same kind of
 * device, else those that suit the device's class.
 *
 * @throws AdapterNotFoundError if there is no adapter of the wanted kind
 */
export async function createDevice(options: DeviceOptions = {}): Promise<Device> {
  const device = await openDevice(options, {
    tuner: async (opened, tuneOptions) => (await onDemand()).tune(opened, tuneOptions, options.remembersTuning ?? true),
    tape: makeTape({ accumulate, sumTo, clone, reshape }),
    planRandom,
  });
  const { kernels, remembersTuning: remembers = true } = options;
  try {
    if (offersMatrices(device.gpu, device.traits)) {
      const { probeMatrices } = await onDemand();
      device.traits = { ...device.traits, subgroupMatrix: await probeMatrices(device) };
    }
    const pinned = kernels && (await onDemand()).checkPinned(kernels, device.traits);
    const tuned = remembers ? await recall(ownerOf(device.info, device.traits)) : new Map();
    device.kernels = { pinned: pinned ?? new Map(), tuned };
    return device;
  } catch (error) {
    device.dispose();
    throw error;
  }
}

const onDemand = () => import('./tuning/on-demand.ts');
