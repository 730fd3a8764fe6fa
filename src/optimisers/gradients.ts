/** Gradients for kernels that read a tensor's whole storage in order. */
import { clone } from '../ops/copy.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';

/** A parameter's gradient, or a copy in the scope, row-major from the start of storage that is not the parameter's. */
export function flatGradient(call: string, parameter: Tensor): FloatTensor {
  const gradient = parameter.grad!;
  const isApart = gradient.storage(call) !== parameter.storage(call);
  return (isFlat(gradient) && isApart ? gradient : clone(gradient)) as FloatTensor;
}

/** The same, for changes in place: nobody else sees its elements. */
export function ownGradient(parameter: Tensor): FloatTensor {
  const gradient = parameter.grad!;
  if (!isFlat(gradient) || !gradient.isUnshared) {
    using own = clone(gradient);
    parameter.grad = own;
  }
  return parameter.grad as FloatTensor;
}

function isFlat({ isContiguous, offset }: Tensor): boolean {
  return isContiguous && offset === 0;
}
