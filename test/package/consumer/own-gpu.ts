/** A user's program that has GPU objects of its own, where WebGPU's types are declared. They pass both ways. */
import { createDevice, type Device, type Tensor } from 'webgpu-attention';

export async function share(own: GPUDevice): Promise<GPUCommandBuffer> {
  const device: Device = await createDevice({ gpuDevice: own });
  const gpu: GPUDevice = device.gpu;
  const buffer: GPUBuffer = gpu.createBuffer({ size: 16, usage: 0x84 });
  const tensor: Tensor = device.wrap(buffer, [4]);
  const whole: GPUBuffer = tensor.buffer;
  const encoder = device.gpu.createCommandEncoder();
  encoder.copyBufferToBuffer(whole, 0, buffer, 0, 16);
  const group = gpu.createBindGroup({
    layout: gpu.createBindGroupLayout({ entries: [] }),
    entries: [{ binding: 0, resource: { buffer: tensor.buffer } }],
  });
  void group;
  // @ts-expect-error a buffer is no device
  await createDevice({ gpuDevice: buffer });
  // @ts-expect-error it is not just anything
  device.wrap({ size: 16, usage: 0x84 }, [4]);
  return encoder.finish();
}
