/**
 * The one device that all test files of a process share: a device and its pipelines are what costs time in software.
 * With WEBGPU_ATTENTION_EXPERIMENTAL=1 it is opened for its tensor cores, if it has any, and ops take those; with
 * WEBGPU_ATTENTION_TEST_LIMITS=default it has WebGPU's default limits and no features; with
 * WEBGPU_ATTENTION_TEST_ATTENTION=NAME flash and local attention take that kernel wherever it can compute the problem.
 */
import { createDevice, type Device, type Tensor } from '../src/index.ts';
import { openGpuDevice } from './gpu/gpu-device.ts';
import { IS_MATRIX } from './matrix/narrow.ts';

export const HAS_DEFAULT_LIMITS = import.meta.env['WEBGPU_ATTENTION_TEST_LIMITS'] === 'default';

let shared: Promise<Device> | undefined;

export function testDevice(): Promise<Device> {
  return (shared ??= open().then(holdTensors));
}

/**
 * Whether to try kernels that the device would not choose, and combinations that need a kernel each. `npm test` leaves them to
 * the matrix on SwiftShader, which compiles many for a second or two each; lavapipe and GPUs compile them in a tenth of that.
 */
export async function triesEveryKernel(): Promise<boolean> {
  const { traits } = await testDevice();
  return IS_MATRIX || !traits.isSoftware || traits.subgroupSize >= 8;
}

/** Holds what tests leave undisposed, so that no garbage collection changes what another test reads from `memory()`. */
function holdTensors(device: Device): Device {
  let held: Tensor[] = [];
  let limit = 1024;
  const track = device.track.bind(device);
  device.track = (tensor) => {
    track(tensor);
    if (held.push(tensor) < limit) return;
    held = held.filter(({ disposed }) => !disposed);
    limit = 2 * held.length + 1024;
  };
  return device;
}

async function open(): Promise<Device> {
  if (HAS_DEFAULT_LIMITS) return createDevice({ gpuDevice: await openGpuDevice() });
  const kernel = import.meta.env['WEBGPU_ATTENTION_TEST_ATTENTION'] as string | undefined;
  return createDevice({
    experimental: import.meta.env['WEBGPU_ATTENTION_EXPERIMENTAL'] === '1',
    ...(kernel && { kernels: { flashAttention: kernel, localAttention: kernel } }),
  });
}
