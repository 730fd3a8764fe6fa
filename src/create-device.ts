/**
 * Opens devices. The class `Device` is below the ops and cannot import them, but `device.tune()` measures ops and
 * `tensor.backward()` runs them. This file is above all of them, and gives a new device its tuner and its tape.
 */
import { makeTape } from './autograd/tape.ts';
import { clone, reshape } from './ops/copy.ts';
import { accumulate } from './ops/internal/copy.ts';
import { sumTo } from './ops/sum.ts';
import { openDevice, type Device, type DeviceOptions } from './tensor/device.ts';
import { ownerOf, recall } from './tuning/memory.ts';
import { checkPinned } from './tuning/pinned.ts';
import { probeMatrices } from './tuning/probe-matrices.ts';
import { tune } from './tuning/tune.ts';

/**
 * Opens a GPU. Ops take the kernels that `kernels` names, else those that `device.tune()` found earlier on the same kind of
 * device, else those that suit the device's class.
 *
 * @throws AdapterNotFoundError if there is no adapter of the wanted kind
 */
export async function createDevice(options: DeviceOptions = {}): Promise<Device> {
  const tape = makeTape({ accumulate, sumTo, clone, reshape });
  const device = await openDevice(options, (opened, tuneOptions) => tune(opened, tuneOptions, remembers), tape);
  const { remembersTuning: remembers = true } = options;
  try {
    device.traits = { ...device.traits, subgroupMatrix: await probeMatrices(device) };
    const pinned = checkPinned(options.kernels, device.traits);
    const tuned = remembers ? await recall(ownerOf(device.info, device.traits)) : new Map();
    device.kernels = { pinned, tuned };
    return device;
  } catch (error) {
    device.dispose();
    throw error;
  }
}
