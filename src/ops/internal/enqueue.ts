import type { Launch } from '../../gpu/runtime.ts';
import type { Operand } from '../../kernels/launch.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** Records a planned kernel on tensors, named as in the shader; an absent optional one is undefined. */
export function enqueue(op: string, launch: Launch, tensors: Readonly<Record<string, Tensor | undefined>>): void {
  const device = Object.values(tensors).find((tensor) => tensor !== undefined)!.device;
  const buffers = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, tensor?.storage(op)]));
  device.runtime.dispatch({ label: op, ...launch }, buffers);
}

/** A tensor's place as kernels see it. The stride of an axis of length 1 is never used, and is given as 0. */
export function operandOf({ shape, strides, offset }: Tensor): Operand {
  return { strides: strides.map((stride, axis) => (shape[axis] === 1 ? 0 : stride)), offset };
}
