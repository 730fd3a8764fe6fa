import shader from '../../shaders/elementwise/dropout.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';
import type { Limits, Operand } from './launch.ts';
import { twoWords } from './random.ts';
import { quadLaunch } from './rows.ts';

export interface DropoutProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** Of the output, which is row-major. */
  readonly shape: Shape;
  readonly dtype: FloatDType;
  readonly x: Operand;
  /** Probability with which an element is dropped. */
  readonly p: number;
  /** A whole number below 2⁵³. */
  readonly seed: number;
}

const WORKGROUP = 256;

export function planDropout(problem: DropoutProblem, limits: Limits): Launch {
  const { dtype, x, p, seed } = problem;
  const { params, workgroups } = quadLaunch(problem, { x }, WORKGROUP, limits);
  const scale = p < 1 ? 1 / (1 - p) : 0; // of elements that there are none of
  return {
    shader,
    constants: { F16: dtype === 'float16' },
    params: { ...params, p, scale, seed: twoWords(seed) },
    workgroups,
  };
}
