/** Checks weights on the host against the model, and uploads them. */
import { LoadError, listFirst, shorten } from '../gpu/errors.ts';
import { elementsOf } from '../io/safetensors.ts';
import { listProblems } from '../modules/load-state.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { decodeFloat16 } from '../tensor/float16.ts';
import { formatShape, type Shape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, Checkpoint, HostWeight, ModelConfig } from './model.ts';

/** A limit, because the names of all layers' weights are listed before any of them is looked for. */
export const MAX_LAYERS = 4096;

/** @throws LoadError, naming the call, that lists the first of the missing, unexpected and misshapen weights */
export function checkWeights<Config extends ModelConfig>(
  call: string,
  architecture: Architecture<Config, unknown>,
  { config, weights }: Pick<Checkpoint<Config>, 'config' | 'weights'>,
): void {
  const shapes = architecture.weightShapes(config);
  const wanted = Object.entries(weights).filter(([name]) => shapes.has(name) || !architecture.isSpare(name, config));
  const problems = listProblems(Object.fromEntries(wanted), shapes, (weight, shape) => {
    if (!weight) return 'is missing';
    if (!['F32', 'F16', 'BF16'].includes(weight.dtype)) return `must be F32, F16 or BF16, got ${weight.dtype}`;
    const [expected, got] = [formatShape(shape), formatShape(weight.shape)];
    return got === expected ? undefined : `must have shape ${expected}, got ${shorten(got)}`;
  });
  if (problems.length === 0) return;
  throw new LoadError(`${call}: weights must fit the model's sizes: ${listFirst(problems, 4)}`);
}

/**
 * Groups weights that are multiplied by the same input. They become one tensor, so that one product serves all of them.
 *
 * @param names weights of the file, `model.layers.0.self_attn.q_proj.weight`
 * @param joins for the name of each joined map the names of its parts, `qkv_proj: ['q_proj', 'k_proj', 'v_proj']`
 * @returns for each tensor of the model the weights whose rows it holds, one below the other
 */
export function joinNames(
  names: Iterable<string>,
  joins: Readonly<Record<string, readonly string[]>>,
): Map<string, string[]> {
  const joined = new Map<string, string[]>();
  for (const name of names) {
    const path = name.split('.');
    const join = Object.keys(joins).find((key) => joins[key].includes(path.at(-2)!));
    const target = join ? path.with(-2, join).join('.') : name;
    joined.set(target, [...(joined.get(target) ?? []), name]);
  }
  return joined;
}

/** The shape of the tensor that `uploadWeights` makes. */
export function joinedShape(weights: readonly HostWeight[]): Shape {
  const rows = weights.reduce((sum, { shape }) => sum + shape[0], 0);
  return [rows, ...weights[0].shape.slice(1)];
}

/** What becomes of a weight on its way to the device: 1 is added (Gemma's norms), or rows become columns (GPT-2's maps). */
export type WeightChange = 'plus-one' | 'transpose';

/** Makes one tensor from weights with equally long rows, one below the other. */
export function uploadWeights(
  device: Device,
  weights: readonly HostWeight[],
  dtype: FloatDType,
  change?: WeightChange,
): Tensor {
  const shape = joinedShape(weights);
  if (change === 'plus-one') {
    const data = concatenate(Float32Array, weights.map(floatsOf)).map((value) => value + 1);
    return device.tensor(data, shape, { dtype });
  }
  if (change === 'transpose') {
    const data = concatenate(Float32Array, weights.map(floatsOf));
    const [rows, columns] = shape;
    const turned = data.map((_, at) => data[(at % rows) * columns + Math.floor(at / rows)]);
    return device.tensor(turned, [columns, rows], { dtype });
  }
  const areHalves = dtype === 'float16' && weights.every((weight) => weight.dtype === 'F16');
  const data = areHalves
    ? concatenate(Uint16Array, weights.map(halvesOf))
    : concatenate(Float32Array, weights.map(floatsOf));
  return device.tensor(data, shape, { dtype });
}

function halvesOf({ dtype, data }: HostWeight): Uint16Array {
  return elementsOf(dtype, data) as Uint16Array;
}

function floatsOf({ dtype, data }: HostWeight): Float32Array {
  const values = elementsOf(dtype, data);
  return values instanceof Uint16Array ? decodeFloat16(values) : (values as Float32Array);
}

function concatenate<T extends Float32Array | Uint16Array>(Kind: new (length: number) => T, parts: readonly T[]): T {
  if (parts.length === 1) return parts[0];
  const whole = new Kind(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
