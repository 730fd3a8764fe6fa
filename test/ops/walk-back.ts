/** Gradients on the device, of any calls. */
import { expect } from 'vitest';
import { record } from '../../src/autograd/tape.ts';
import type { Device, Tensor } from '../../src/index.ts';
import type { HostArray } from '../reference/host-array.ts';
import { type Float, type Layout, upload } from './upload.ts';

export interface Leaf {
  readonly array: HostArray;
  readonly dtype: Float;
  readonly layout?: Layout;
}

/** Results, each with the gradient of some loss with respect to it. */
export type Results = readonly (readonly [result: Tensor, gradient: Tensor])[];

/**
 * What the leaves have got by one walk back from all of `work`'s results; undefined for those that are absent.
 * `work` runs in a scope.
 */
export async function gradientsOf<Name extends string>(
  device: Device,
  leaves: Readonly<Record<Name, Leaf | undefined>>,
  work: (tensors: Readonly<Record<Name, Tensor>>) => Results,
): Promise<Partial<Record<Name, Float32Array>>> {
  const tensors = device.scope(() => {
    const uploaded: Record<string, Tensor> = {};
    for (const [name, leaf] of Object.entries<Leaf | undefined>(leaves)) {
      if (!leaf) continue;
      uploaded[name] = upload(device, leaf.array, leaf.dtype, leaf.layout);
      uploaded[name].requiresGrad = true;
    }
    walkBack(work(uploaded as Record<Name, Tensor>));
    return uploaded;
  });
  return readGradients(tensors) as Promise<Partial<Record<Name, Float32Array>>>;
}

/** One walk back from several results, as for a loss that is the sum of each times its gradient. */
export function walkBack(results: Results): void {
  const { device } = results[0][0];
  const loss = device.tensor([0], [1]);
  const byNumber = (tensors: readonly Tensor[]) => Object.fromEntries(tensors.entries()) as Record<string, Tensor>;
  record({
    op: 'loss',
    inputs: byNumber(results.map(([result]) => result)),
    outputs: [loss],
    saved: byNumber(results.map(([, gradient]) => gradient)),
    backward: (_, saved) => saved,
  });
  loss.backward();
}

/** The leaves' gradients on the host; disposes the leaves. */
export async function readGradients(leaves: Readonly<Record<string, Tensor>>): Promise<Record<string, Float32Array>> {
  const read = Object.entries(leaves).map(async ([name, leaf]) => {
    const { grad, dtype, shape } = leaf;
    expect([grad?.dtype, grad?.shape], `gradient of ${name}`).toEqual([dtype, shape]);
    const data = (await grad!.data()) as Float32Array;
    leaf.dispose();
    return [name, data] as const;
  });
  return Object.fromEntries(await Promise.all(read));
}
