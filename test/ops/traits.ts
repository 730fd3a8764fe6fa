import type { Device } from '../../src/index.ts';
import type { Traits } from '../../src/tensor/traits.ts';

/** Lets the device seem another to whoever plans a kernel, until the returned function is called. */
export function changeTraits(device: Device, changes: Partial<Traits>): () => void {
  const own = Object.getOwnPropertyDescriptor(device, 'traits')!;
  Object.defineProperty(device, 'traits', { ...own, value: { ...device.traits, ...changes } });
  return () => void Object.defineProperty(device, 'traits', own);
}
