/** The six runs of the demo as data: what each module is given, and how it is built. */
import {
  ArgumentError,
  CrossAttention,
  FlashAttention,
  LocalAttention,
  MultiHeadAttention,
  noGrad,
  ScaledDotProductAttention,
  SelfAttention,
} from '../index.ts';
import type { Device, StateDict, Tensor } from '../index.ts';
import { nearest } from '../tensor/options.ts';

export type ResultName = 'output' | 'weights';

export interface Run {
  /** The module's class, and the prefix of its tensors in the example file. */
  readonly name: string;
  /** The arguments of `forward`, in its order. */
  readonly inputs: readonly string[];
  readonly results: readonly ResultName[];
  /** The options of the constructor. */
  readonly options?: Readonly<Record<string, number>>;
  /** @param projections the state dict of a torch.nn.MultiheadAttention(512, 8) */
  build(device: Device, projections: StateDict): BuiltModule;
}

export interface BuiltModule {
  forward(inputs: readonly Tensor[]): { output: Tensor; weights?: Tensor };
  dispose(): void;
}

/**
 * Largest absolute error against PyTorch's float64 results of the same float16 numbers. Everything here is computed in
 * float32, where one rounding is 2⁻²⁴ ≈ 6e-8 relative. An output goes through two products of 512 terms and magnitude 1
 * and a softmax whose exp WGSL allows some 20 roundings: errors of 1e-6 are usual, and ten times that would be a defect.
 * A weight is at most 1 and has no product after the softmax.
 */
export const TOLERANCE: Readonly<Record<ResultName, number>> = { output: 2e-5, weights: 1e-5 };

const WITH_WEIGHTS = { needWeights: true };
const PROJECTED = { embedDim: 512, numHeads: 8 };
const LOCAL = { ...PROJECTED, windowSize: 16 };

export const SIX_RUNS: readonly Run[] = [
  {
    name: 'ScaledDotProductAttention',
    inputs: ['q', 'k', 'v'],
    results: ['output', 'weights'],
    build() {
      const module = new ScaledDotProductAttention();
      return built(module, ([q, k, v]) => module.forward(q, k, v, WITH_WEIGHTS));
    },
  },
  {
    name: 'SelfAttention',
    inputs: ['x'],
    results: ['output', 'weights'],
    options: PROJECTED,
    build(device, projections) {
      const module = new SelfAttention(device, PROJECTED);
      return built(module, ([x]) => module.forward(x, WITH_WEIGHTS), projections);
    },
  },
  {
    name: 'MultiHeadAttention',
    inputs: ['query', 'key', 'value'],
    results: ['output', 'weights'],
    options: PROJECTED,
    build(device, projections) {
      const module = new MultiHeadAttention(device, PROJECTED);
      return built(module, ([query, key, value]) => module.forward(query, key, value, WITH_WEIGHTS), projections);
    },
  },
  {
    name: 'CrossAttention',
    inputs: ['x', 'context'],
    results: ['output', 'weights'],
    options: PROJECTED,
    build(device, projections) {
      const module = new CrossAttention(device, PROJECTED);
      return built(module, ([x, context]) => module.forward(x, context, WITH_WEIGHTS), projections);
    },
  },
  {
    name: 'FlashAttention',
    inputs: ['q', 'k', 'v'],
    results: ['output'],
    build() {
      const module = new FlashAttention();
      return built(module, ([q, k, v]) => module.forward(q, k, v));
    },
  },
  {
    name: 'LocalAttention',
    inputs: ['x'],
    results: ['output'],
    options: LOCAL,
    build(device, projections) {
      const module = new LocalAttention(device, LOCAL);
      return built(module, ([x]) => module.forward(x), projections);
    },
  },
];

function built(
  module: { loadStateDict(dict: StateDict): void; dispose(): void },
  forward: BuiltModule['forward'],
  projections?: StateDict,
): BuiltModule {
  if (projections) module.loadStateDict(projections);
  return { forward: (inputs) => noGrad(() => forward(inputs)), dispose: () => module.dispose() };
}

/**
 * The run of one module, whose name may be in any case, or all six.
 *
 * @throws ArgumentError for an unknown name
 */
export function chooseRuns(name?: string): readonly Run[] {
  if (name === undefined) return SIX_RUNS;
  const chosen = SIX_RUNS.find((run) => run.name.toLowerCase() === name.toLowerCase());
  if (chosen) return [chosen];
  const names = SIX_RUNS.map((run) => run.name);
  // people abbreviate to the beginning, which is too far from the whole name to count as a typo
  const near = names.find((known) => known.toLowerCase().startsWith(name.toLowerCase() || '?')) ?? nearest(name, names);
  const hint = near ? ` (did you mean ${near}?)` : '';
  throw new ArgumentError(`demo: module must be one of ${names.join(', ')}, got '${name}'${hint}`);
}
