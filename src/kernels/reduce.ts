/** Sums over axes, and draws of a column of each row: the kernels of shaders/reduce. */
import sampleShader from '../../shaders/reduce/sample.wgsl';
import sumShader from '../../shaders/reduce/sum.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { coalesce, contiguousStrides, sizeOf, type Shape } from '../tensor/shape.ts';
import type { Traits } from '../tensor/traits.ts';
import { foldWorkgroups, operandFields, twoWords, type Operand } from './launch.ts';
import { mergeAxes, rowAxes, rowOperand, rowShape } from './rows.ts';

export interface SumProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly shape: Shape;
  readonly inDType: FloatDType;
  readonly outDType: FloatDType;
  readonly x: Operand;
  /** Which axes are summed. */
  readonly axes: ReadonlySet<number>;
  /** Strides of the row-major output along the axes that stay. */
  readonly strides: readonly number[];
  /** Multiplies the sums. */
  readonly scale: number;
}

export interface SumPlan extends Launch {
  /** Number of parts into which the sums are divided. If more than 1, the output is [splits, kept axes] in float32. */
  readonly splits: number;
}

const WORKGROUP = 256;
/** The number of workgroups that dividing long sums aims for. */
const ENOUGH_GROUPS = 256;
const ENOUGH_GROUPS_ON_CPU = 16;
/** A sum with fewer terms per lane than this is not divided. */
const SPLIT_TERMS = 32;
/** Invocations that occupy a large GPU. */
const ENOUGH_INVOCATIONS = 2 ** 16;
/** Quads of neighbouring sums that a GPU reads at once. */
const ROW_OF_QUADS = 16;

export function planSum(problem: SumProblem, traits: Traits): SumPlan {
  const { op, shape, inDType, x } = problem;
  const axes = shape.map((_, axis) => axis);
  const keptAxes = axes.filter((axis) => !problem.axes.has(axis));
  // in the order of memory, in which most of them merge
  const summedAxes = axes.filter((axis) => problem.axes.has(axis)).sort((a, b) => x.strides[b] - x.strides[a]);
  const [keptShape, keptStrides] = [shape, x.strides].map((of) => keptAxes.map((axis) => of[axis]));
  const summedShape = summedAxes.map((axis) => shape[axis]);
  const summed = coalesce(summedShape, [summedAxes.map((axis) => x.strides[axis])]);
  const innerTerms = summed.shape.at(-1) ?? 1;
  const innerStride = summed.strides[0].at(-1) ?? 0;
  const terms = sizeOf(summedShape);

  const place = (strides: readonly number[]) => mergeAxes(keptShape, strides, [keptStrides]);
  const columnsOf = ({ shape: lengths }: { shape: Shape }) => lengths.at(-1)!;
  const quadsOf = (merged: { shape: Shape }) =>
    (sizeOf(merged.shape) / columnsOf(merged)) * Math.ceil(columnsOf(merged) / 4);
  const whole = place(problem.strides);
  const columnStride = whole.strides[1].at(-1)!;
  const lanesFirst = columnsOf(whole) === 1 || columnStride > innerStride;
  const lanes = chooseLanes(quadsOf(whole), terms, lanesFirst, traits);
  const splitTerms = chooseSplitTerms(Math.ceil((quadsOf(whole) * lanes) / WORKGROUP), terms, lanes, traits);
  const splits = Math.ceil(terms / splitTerms);
  const outDType = splits > 1 ? 'float32' : problem.outDType;

  const merged = splits > 1 ? place(contiguousStrides(keptShape, outDType)) : whole;
  const quads = quadsOf(merged);
  const quadGroups = Math.ceil((quads * lanes) / WORKGROUP);
  const kept = rowOperand({ strides: merged.strides[1], offset: x.offset });
  const readsVectors = kept.vectors === 1 && summed.strides[0].every((stride) => stride % 4 === 0);
  return {
    shader: sumShader,
    splits,
    constants: { IN_F16: inDType === 'float16', OUT_F16: outDType === 'float16' },
    params: {
      groups: quadGroups * splits,
      quad_groups: quadGroups,
      quads,
      row_quads: Math.ceil(columnsOf(merged) / 4),
      columns: columnsOf(merged),
      output_pitch: merged.strides[0].at(-2) ?? 0,
      split_pitch: sizeOf(keptShape),
      split_terms: splitTerms,
      terms,
      lanes,
      lanes_first: lanesFirst ? 1 : 0,
      scale: splits > 1 ? 1 : problem.scale,
      inner_terms: innerTerms,
      inner_stride: innerStride,
      kept_shape: rowShape(merged.shape.slice(0, -1)),
      x: { ...kept, vectors: readsVectors ? 1 : 0 },
      summed: rowAxes(summed.shape.slice(0, -1), summed.strides[0].slice(0, -1)),
    },
    workgroups: foldWorkgroups(op, quadGroups * splits, traits),
  };
}

/** Invocations that share a quad of sums, a power of two. */
function chooseLanes(quads: number, terms: number, lanesFirst: boolean, { isSoftware }: Traits): number {
  // a CPU driver pays for each level of the tree: no more lanes than fill the workgroup
  const useful = isSoftware ? WORKGROUP / quads : ENOUGH_INVOCATIONS / quads;
  const most = isSoftware || lanesFirst ? WORKGROUP : WORKGROUP / Math.min(ROW_OF_QUADS, powerOfTwo(quads));
  const busy = terms / (isSoftware ? 16 : 4);
  return Math.min(powerOfTwo(lanesFirst && !isSoftware ? busy : Math.min(useful, busy)), most);
}

/** The number of terms of each sum that one workgroup adds up, so that there are enough workgroups. */
function chooseSplitTerms(groups: number, terms: number, lanes: number, { isSoftware }: Traits): number {
  const wanted = Math.floor((isSoftware ? ENOUGH_GROUPS_ON_CPU : ENOUGH_GROUPS) / groups);
  const splits = Math.max(1, Math.min(wanted, Math.floor(terms / (lanes * SPLIT_TERMS))));
  return Math.ceil(terms / splits);
}

/** The least of at least `count`. */
function powerOfTwo(count: number): number {
  return 2 ** Math.max(0, Math.ceil(Math.log2(count)));
}

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
function chooseSampleWorkgroup({ isSoftware }: Traits): number {
  return isSoftware ? 8 : 128;
}

export function planSample(problem: SampleProblem, traits: Traits): Launch {
  const { op, rows, columns, dtype, logits, temperature, seed, step } = problem;
  return {
    shader: sampleShader,
    constants: { WORKGROUP: chooseSampleWorkgroup(traits), F16: dtype === 'float16' },
    params: {
      groups: rows,
      columns,
      temperature,
      seed: twoWords(seed),
      step: twoWords(step),
      logits: operandFields(logits),
    },
    workgroups: foldWorkgroups(op, rows, traits),
  };
}
