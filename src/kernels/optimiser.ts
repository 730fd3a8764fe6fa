import adamShader from '../../shaders/optimiser/adam.wgsl';
import scalerShader from '../../shaders/optimiser/grad-scaler.wgsl';
import normShader from '../../shaders/optimiser/gradient-norm.wgsl';
import scaleShader from '../../shaders/optimiser/scale-gradient.wgsl';
import sgdShader from '../../shaders/optimiser/sgd.wgsl';
import stepShader from '../../shaders/optimiser/step.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { BYTES, type FloatDType } from '../tensor/dtype.ts';
import { rowPitch, storageSize, type Shape } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, type Limits } from './launch.ts';

/** One step for one parameter. */
export interface UpdateProblem {
  /** The call's name, for errors. */
  readonly op: string;
  /** Dtype of the parameter and its gradient, which lie row-major from their storages' starts. */
  readonly dtype: FloatDType;
  /** Elements that the parameter takes, the padding of float16 rows included. */
  readonly size: number;
  /** Its row of the settings. */
  readonly parameter: number;
}

const WORKGROUP = 256;

/** Twin of the uniform struct `UpdateParams` (shaders/optimiser/parts/weights.wgsl). */
function updateFields({ size, parameter, l2 }: SgdProblem | AdamProblem) {
  return { quads: Math.ceil(size / 4), size, parameter, l2 };
}

function updateGroups({ size }: UpdateProblem): number {
  return Math.ceil(size / 4 / WORKGROUP);
}

export interface SgdProblem extends UpdateProblem {
  /** Times the parameter is added to the gradient. */
  readonly l2: number;
  /** 0: there is no buffer. */
  readonly momentum: number;
  readonly dampening: number;
  readonly nesterov: boolean;
}

export function planSgd(problem: SgdProblem, limits: Limits): Launch {
  const { op, dtype, momentum, dampening, nesterov } = problem;
  return {
    shader: sgdShader,
    constants: { F16: dtype === 'float16' },
    params: {
      update: updateFields(problem),
      has_momentum: momentum === 0 ? 0 : 1,
      is_nesterov: nesterov ? 1 : 0,
      momentum,
      share: 1 - dampening,
    },
    workgroups: foldWorkgroups(op, updateGroups(problem), limits),
  };
}

export interface AdamProblem extends UpdateProblem {
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  /** Times the parameter is added to the gradient. */
  readonly l2: number;
  /** The parameter is multiplied by it. */
  readonly decay: number;
}

export function planAdam(problem: AdamProblem, limits: Limits): Launch {
  const { op, dtype, betas, epsilon, decay } = problem;
  return {
    shader: adamShader,
    constants: { F16: dtype === 'float16' },
    params: {
      update: updateFields(problem),
      decay,
      mean_share: 1 - betas[0],
      square_kept: betas[1],
      square_share: 1 - betas[1],
      epsilon,
    },
    workgroups: foldWorkgroups(op, updateGroups(problem), limits),
  };
}

export interface OptimiserStepProblem {
  /** The call's name, for errors. */
  readonly op: string;
  /** Parameters with a gradient. */
  readonly count: number;
  readonly lr: number;
  /** The β of the bias corrections 1 − βᵗ; 0 if there is none. */
  readonly betas: readonly [number, number];
  /** Where the gradients were checked, if they were. */
  readonly foundAt?: number;
  /** Whether they are still multiplied by the scale of the loss. */
  readonly isScaled: boolean;
}

/** Floats of a parameter's settings. */
export const SETTINGS = 4;

const STEP_WORKGROUP = 64;
/** Stands for log 0: its exponential is 0. */
const LOWEST_LOG = -1000;

export function planOptimiserStep(problem: OptimiserStepProblem, limits: Limits): Launch {
  const { op, count, lr, betas, foundAt, isScaled } = problem;
  const [beta1, beta2] = betas.map((beta) => Math.max(Math.log(beta), LOWEST_LOG));
  return {
    shader: stepShader,
    constants: {},
    params: {
      count,
      found_at: foundAt ?? 0,
      is_checked: foundAt === undefined ? 0 : 1,
      is_scaled: isScaled ? 1 : 0,
      rate: lr,
      log_beta1: beta1,
      log_beta2: beta2,
    },
    workgroups: foldWorkgroups(op, Math.ceil(count / STEP_WORKGROUP), limits),
  };
}

/** A gradient that lies row-major from its storage's start. */
export interface FlatTensor {
  readonly shape: Shape;
  readonly dtype: FloatDType;
}

/** Twin of the uniform struct `FlatOperand` (shaders/optimiser/parts/flat.wgsl). */
export function flatFields({ shape, dtype }: FlatTensor) {
  const size = storageSize(shape, dtype);
  const last = shape.at(-1)!;
  const isPadded = rowPitch(last, dtype) !== last;
  return {
    vectors: Math.ceil((size * BYTES[dtype]) / 16),
    size,
    columns: isPadded ? last : size,
    pitch: isPadded ? last + 1 : size,
  };
}

/** An invocation adds up at least this many vectors, if there are as many. */
const VECTORS_EACH = 4;
const MOST_SUMS = 1024;

/** A CPU driver pays for each level of the tree that combines the invocations. */
function chooseNormWorkgroup({ isSoftware }: Traits): number {
  return isSoftware ? 32 : 256;
}

/** The number of partial sums of a gradient's squares. */
export function sumsOf(x: FlatTensor, traits: Traits): number {
  const { vectors } = flatFields(x);
  return Math.min(Math.ceil(vectors / (VECTORS_EACH * chooseNormWorkgroup(traits))), MOST_SUMS);
}

/** Sums the squares of one gradient into `sumsOf` partial sums from `first` on. */
export function planSquares(op: string, x: FlatTensor, first: number, traits: Traits): Launch {
  const groups = sumsOf(x, traits);
  return {
    shader: normShader,
    constants: { WORKGROUP: chooseNormWorkgroup(traits), COMBINES: false, F16: x.dtype === 'float16' },
    params: { x: flatFields(x), groups, first, max_norm: 0, is_scaled: 0 },
    workgroups: foldWorkgroups(op, groups, traits),
  };
}

const LARGEST = 3.4028234663852886e38;

/** Computes the norm and the factor of the gradients from `sums` partial sums. */
export function planNorm(sums: number, maxNorm: number, isScaled: boolean, traits: Traits): Launch {
  return {
    shader: normShader,
    constants: { WORKGROUP: chooseNormWorkgroup(traits), COMBINES: true, F16: false },
    params: {
      x: flatFields({ shape: [sums], dtype: 'float32' }),
      groups: 1,
      first: 0,
      max_norm: Math.min(maxNorm, LARGEST),
      is_scaled: isScaled ? 1 : 0,
    },
    workgroups: [1, 1, 1],
  };
}

export interface ScaleGradientProblem extends FlatTensor {
  /** The call's name, for errors. */
  readonly op: string;
  /** Multiplies by the number or by its inverse. If absent, the gradient is only checked. */
  readonly scales?: 'times' | 'divided';
  /** The place that notes whether an element is not finite. If absent, the gradient is not checked. */
  readonly foundAt?: number;
}

export function planScaleGradient(problem: ScaleGradientProblem, limits: Limits): Launch {
  const { op, dtype, scales, foundAt } = problem;
  const x = flatFields(problem);
  return {
    shader: scaleShader,
    constants: {
      F16: dtype === 'float16',
      SCALES: scales !== undefined,
      DIVIDES: scales === 'divided',
      CHECKS: foundAt !== undefined,
    },
    params: { x, found_at: foundAt ?? 0 },
    workgroups: foldWorkgroups(op, Math.ceil(x.vectors / WORKGROUP), limits),
  };
}

export interface GradScalerProblem {
  /** Entries of what was found. */
  readonly optimisers: number;
  readonly growth: number;
  readonly backoff: number;
  /** Steps. */
  readonly interval: number;
}

export function planGradScaler({ optimisers, growth, backoff, interval }: GradScalerProblem): Launch {
  return {
    shader: scalerShader,
    constants: {},
    params: { optimisers, growth, backoff, interval },
    workgroups: [1, 1, 1],
  };
}
