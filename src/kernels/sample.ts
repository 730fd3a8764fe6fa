import shader from '../../shaders/reduce/sample.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, readsQuads, type Operand } from './launch.ts';
import { twoWords } from './random.ts';

export interface SampleProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly rows: number;
  readonly columns: number;
  readonly dtype: FloatDType;
  /** Strides of row and column. */
  readonly logits: Operand;
  readonly temperature: number;
  /** Safe integers of at least 0. */
  readonly seed: number;
  readonly step: number;
}

/** A CPU driver pays for each level of the tree that combines the invocations. */
function chooseWorkgroup({ isSoftware }: Traits): number {
  return isSoftware ? 8 : 128;
}

export function planSample(problem: SampleProblem, traits: Traits): Launch {
  const { op, rows, columns, dtype, logits, temperature, seed, step } = problem;
  return {
    shader,
    constants: { WORKGROUP: chooseWorkgroup(traits), F16: dtype === 'float16' },
    params: {
      groups: rows,
      columns,
      temperature,
      seed: twoWords(seed),
      step: twoWords(step),
      logits_strides: logits.strides,
      logits_offset: logits.offset,
      vector_loads: readsQuads(logits, 1) ? 1 : 0,
    },
    workgroups: foldWorkgroups(op, rows, traits),
  };
}
