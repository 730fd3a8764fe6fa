/** What PyTorch's optimisers do in five steps (test/fixtures/generate-optimisers.py). */
import { Adam, AdamW, type Device, type Optimiser, SGD, type Shape, type Tensor } from '../../src/index.ts';
import { elementsOf, parseSafetensors } from '../../src/io/safetensors.ts';
import { readFile } from '../read-file.ts';

const { metadata, tensors } = parseSafetensors(await readFile('fixtures/optimisers.safetensors'));

export const STEPS = 5;
export const NAMES = ['weight', 'bias'] as const;

export interface GoldenCase {
  readonly name: string;
  readonly optimiser: 'SGD' | 'Adam' | 'AdamW';
  readonly options: { lr: number };
}

export const cases = JSON.parse(metadata['cases']) as GoldenCase[];

const OPTIMISERS = { SGD, Adam, AdamW };

export function makeOptimiser({ optimiser, options }: GoldenCase, parameters: Record<string, Tensor>): Optimiser {
  return new OPTIMISERS[optimiser](parameters, options);
}

export function golden(name: string): { shape: Shape; data: Float32Array } {
  const { dtype, shape, data } = tensors[name];
  return { shape, data: elementsOf(dtype, data) as Float32Array };
}

export function goldenNames(prefix: string): string[] {
  return Object.keys(tensors).filter((name) => name.startsWith(prefix));
}

export function startParameters(device: Device, dtype: 'float32' | 'float16' = 'float32'): Record<string, Tensor> {
  const entries = NAMES.map((name) => {
    const { shape, data } = golden(`start/${name}`);
    return [name, device.tensor(data, shape, { dtype, requiresGrad: true })] as const;
  });
  return Object.fromEntries(entries);
}

/** Gives the parameters the gradients of a step, `factor` times. */
export function setGradients(parameters: Readonly<Record<string, Tensor>>, step: number, factor = 1): void {
  for (const [name, parameter] of Object.entries(parameters)) {
    const key = `gradients/${step}/${name}`;
    if (!Object.hasOwn(tensors, key)) {
      parameter.grad = undefined;
      continue;
    }
    const { shape, data } = golden(key);
    const { dtype, device } = parameter;
    using gradient = device.tensor(
      data.map((value) => factor * value),
      shape,
      { dtype },
    );
    parameter.grad = gradient;
  }
}

export function disposeAll(given: Readonly<Record<string, Tensor>>): void {
  for (const tensor of Object.values(given)) tensor.dispose();
}
