import { openAdapter } from '#platform';

/** A device as a program with WebGPU code of its own has it: the caller's to destroy. */
export async function openGpuDevice(descriptor: GPUDeviceDescriptor = {}): Promise<GPUDevice> {
  const { adapter } = await openAdapter();
  return adapter.requestDevice(descriptor);
}
