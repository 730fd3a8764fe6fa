/** A user's program that ends its waits, where AbortController is declared. */
import { createDevice } from 'webgpu-attention';

export async function wait(): Promise<Float32Array> {
  const device = await createDevice();
  const controller = new AbortController();
  await device.sync({ signal: controller.signal });
  return device.randn([2]).data({ signal: AbortSignal.timeout(1000) });
}
