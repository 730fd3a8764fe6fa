/** A user's program where nobody declares WebGPU's types: what it needs of them is there. */
import { createDevice, type DeviceOptions } from 'webgpu-attention';

export async function share(own: NonNullable<DeviceOptions['gpuDevice']>): Promise<number> {
  const device = await createDevice({ gpuDevice: own });
  const buffer = device.gpu.createBuffer({ size: 16, usage: 0x84 });
  device.gpu.queue.writeBuffer(buffer, 0, new Float32Array(4));
  const tensor = device.wrap(buffer, [4]);
  // @ts-expect-error a buffer is no device
  await createDevice({ gpuDevice: buffer });
  return tensor.buffer.size;
}
