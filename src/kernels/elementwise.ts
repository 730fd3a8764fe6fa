import shader from '../../shaders/elementwise/elementwise.wgsl';
import accumulateShader from '../../shaders/elementwise/accumulate.wgsl';
import copyShader from '../../shaders/elementwise/copy.wgsl';
import dropoutShader from '../../shaders/elementwise/dropout.wgsl';
import gradientShader from '../../shaders/elementwise/gradient.wgsl';
import abs from '../../shaders/elementwise/parts/abs.wgsl';
import add from '../../shaders/elementwise/parts/add.wgsl';
import bceWithLogits from '../../shaders/elementwise/parts/bce-with-logits.wgsl';
import divide from '../../shaders/elementwise/parts/divide.wgsl';
import exp from '../../shaders/elementwise/parts/exp.wgsl';
import geluTanh from '../../shaders/elementwise/parts/gelu-tanh.wgsl';
import gelu from '../../shaders/elementwise/parts/gelu.wgsl';
import log from '../../shaders/elementwise/parts/log.wgsl';
import maximum from '../../shaders/elementwise/parts/maximum.wgsl';
import minimum from '../../shaders/elementwise/parts/minimum.wgsl';
import multiply from '../../shaders/elementwise/parts/multiply.wgsl';
import power from '../../shaders/elementwise/parts/power.wgsl';
import relu from '../../shaders/elementwise/parts/relu.wgsl';
import sigmoid from '../../shaders/elementwise/parts/sigmoid.wgsl';
import silu from '../../shaders/elementwise/parts/silu.wgsl';
import sqrt from '../../shaders/elementwise/parts/sqrt.wgsl';
import subtract from '../../shaders/elementwise/parts/subtract.wgsl';
import swiglu from '../../shaders/elementwise/parts/swiglu.wgsl';
import tanh from '../../shaders/elementwise/parts/tanh.wgsl';
import randomShader from '../../shaders/elementwise/random.wgsl';
import rotaryShader from '../../shaders/elementwise/rotary-embedding.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { replacePart, type Shader } from '../gpu/shader.ts';
import { BYTES, type DType, type FloatDType } from '../tensor/dtype.ts';
import { contiguousStrides, MAX_RANK, rowPitch, sizeOf, storageSize, type Shape } from '../tensor/shape.ts';
import type { RandomProblem } from '../tensor/random.ts';
import type { Traits } from '../tensor/traits.ts';
import { dropoutFields, foldWorkgroups, operandFields, twoWords, type Limits, type Operand } from './launch.ts';
import { mergeAxes, quadLaunch, rowOperand, rowShape } from './rows.ts';

export type OperandName = 'x' | 'y';

export interface ElementwiseRow {
  /**
   * Declares value(x, y), gradient_x(g, x, y) and gradient_y(g, x, y). A function of x alone has the last from the part
   * `unary`. If every gradient is g itself, value is enough.
   */
  readonly part: Shader;
  /**
   * For each operand, what its gradient reads beside g, the result's gradient: `'x'`, `'y'`, `'xy'`, or `''` for neither.
   * `'g'`: the gradient is g itself, and no kernel is launched.
   */
  readonly gradients: { readonly x: GradientReads; readonly y?: GradientReads };
}

type GradientReads = '' | 'x' | 'y' | 'xy' | 'g';

/** The elementwise functions. A new one needs a row here, and its part. */
export const ELEMENTWISE = {
  gelu: { part: gelu, gradients: { x: 'x' } },
  geluTanh: { part: geluTanh, gradients: { x: 'x' } },
  silu: { part: silu, gradients: { x: 'x' } },
  relu: { part: relu, gradients: { x: 'x' } },
  tanh: { part: tanh, gradients: { x: 'x' } },
  add: { part: add, gradients: { x: 'g', y: 'g' } },
  multiply: { part: multiply, gradients: { x: 'y', y: 'x' } },
  swiglu: { part: swiglu, gradients: { x: 'xy', y: 'x' } },
  subtract: { part: subtract, gradients: { x: 'g', y: '' } },
  divide: { part: divide, gradients: { x: 'y', y: 'xy' } },
  power: { part: power, gradients: { x: 'xy', y: 'xy' } },
  maximum: { part: maximum, gradients: { x: 'xy', y: 'xy' } },
  minimum: { part: minimum, gradients: { x: 'xy', y: 'xy' } },
  bceWithLogits: { part: bceWithLogits, gradients: { x: 'xy', y: 'x' } },
  exp: { part: exp, gradients: { x: 'x' } },
  log: { part: log, gradients: { x: 'x' } },
  sqrt: { part: sqrt, gradients: { x: 'x' } },
  sigmoid: { part: sigmoid, gradients: { x: 'x' } },
  abs: { part: abs, gradients: { x: 'x' } },
} satisfies Record<string, ElementwiseRow>;

export type ElementwiseOp = keyof typeof ELEMENTWISE;

export interface ElementwiseProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly operation: ElementwiseOp;
  /** Shape of the row-major output. */
  readonly shape: Shape;
  readonly dtype: FloatDType;
  /** Strides of the output's axes, 0 where broadcast. */
  readonly x?: Operand;
  readonly y?: Operand;
}

export interface ElementwiseGradientProblem extends ElementwiseProblem {
  /** The operand whose gradient is computed. x and y are given if it reads them. */
  readonly of: OperandName;
  /** Gradient of the result. */
  readonly gradient: Operand;
}

const WORKGROUP = 256;
const DEFAULT_PART = 'elementwise/parts/multiply';

/** Pipelines are kept by shader: one object for each op. */
const withPart = new Map<Shader, Map<Shader, Shader>>([
  [shader, new Map()],
  [gradientShader, new Map()],
]);

function shaderOf(base: Shader, operation: ElementwiseOp): Shader {
  const { part } = ELEMENTWISE[operation];
  const known = withPart.get(base)!;
  let own = known.get(part);
  if (!own) known.set(part, (own = replacePart(base, DEFAULT_PART, part)));
  return own;
}

export function planElementwise(problem: ElementwiseProblem, traits: Traits): Launch {
  const { operation, dtype, x, y } = problem;
  const { isWhole, ...launch } = quadLaunch(problem, { x, y }, WORKGROUP, traits, !traits.isSoftware);
  return {
    shader: shaderOf(shader, operation),
    constants: { BINARY: y !== undefined, F16: dtype === 'float16', WHOLE: isWhole },
    ...launch,
  };
}

export function planElementwiseGradient(problem: ElementwiseGradientProblem, traits: Traits): Launch {
  const { operation, of, dtype, x, y, gradient } = problem;
  const { isWhole, ...launch } = quadLaunch(problem, { x, y, gradient }, WORKGROUP, traits, !traits.isSoftware);
  const reads = { READS_X: x !== undefined, READS_Y: y !== undefined };
  return {
    shader: shaderOf(gradientShader, operation),
    constants: { OF_Y: of === 'y', ...reads, F16: dtype === 'float16', WHOLE: isWhole },
    ...launch,
  };
}

export interface AccumulateProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly shape: Shape;
  readonly dtype: FloatDType;
  /** Contiguous, or a slice of a contiguous tensor. */
  readonly target: Operand;
  /** Strides 0 where broadcast. */
  readonly x: Operand;
}

export function planAccumulate({ op, shape, dtype, target, x }: AccumulateProblem, limits: Limits): Launch {
  const { shape: lengths, strides } = mergeAxes(shape, target.strides, [x.strides]);
  const columns = lengths.at(-1)!;
  const lead = dtype === 'float16' ? target.offset % 2 : 0;
  const rowQuads = Math.ceil((lead + columns) / 4);
  const quads = sizeOf(lengths.slice(0, -1)) * rowQuads;
  const addend = rowOperand({ strides: strides[1], offset: x.offset });
  return {
    shader: accumulateShader,
    constants: { F16: dtype === 'float16' },
    params: {
      quads,
      row_quads: rowQuads,
      columns,
      lead,
      shape: rowShape(lengths.slice(0, -1)),
      x: { ...addend, vectors: lead === 0 ? addend.vectors : 0 },
      target_rows: rowOperand({ strides: strides[0], offset: target.offset }),
    },
    workgroups: foldWorkgroups(op, Math.ceil(quads / WORKGROUP), limits),
  };
}

export interface DropoutProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** Shape of the row-major output. */
  readonly shape: Shape;
  readonly dtype: FloatDType;
  readonly x: Operand;
  /** Probability with which an element is dropped. */
  readonly p: number;
  /** A whole number below 2⁵³. */
  readonly seed: number;
}

export function planDropout(problem: DropoutProblem, limits: Limits): Launch {
  const { dtype, x, p, seed } = problem;
  const { params, workgroups } = quadLaunch(problem, { x }, WORKGROUP, limits);
  return {
    shader: dropoutShader,
    constants: { F16: dtype === 'float16' },
    params: { ...params, dropout: dropoutFields(p, seed) },
    workgroups,
  };
}

/** Units of the integers that the kernel draws, as powers of two. */
const UNIT = { uniform: -24, normal: -27 };

export function planRandom(problem: RandomProblem, limits: Limits): Launch {
  const { dtype, distribution, scale, seed, stream } = problem;
  const { params, workgroups } = quadLaunch(problem, {}, WORKGROUP, limits);
  const { quads, row_quads, columns, output_pitch } = params;
  const [bits] = new Uint32Array(Float32Array.of(scale).buffer);
  return {
    shader: randomShader,
    constants: { F16: dtype === 'float16', NORMAL: distribution === 'normal' },
    params: {
      quads,
      row_quads,
      columns,
      output_pitch,
      seed: twoWords(seed),
      stream,
      mantissa: ((bits & 0x7fffff) | 0x800000) * 256,
      exponent: (bits >>> 23) + 31 + UNIT[distribution],
    },
    workgroups,
  };
}

export interface CopyProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** Shape of x, or of x and y joined. */
  readonly shape: Shape;
  /** As many elements, possibly in rows of another length. */
  readonly outputShape: Shape;
  readonly inDType: DType;
  readonly outDType: DType;
  readonly x: Operand;
  /** The place in the output's storage, in words of 32 bits. */
  readonly firstWord?: number;
  /** Writes the logical not of bools. */
  readonly invert?: boolean;
  /** Continues x along `axis` from position `split`. */
  readonly joined?: { readonly y: Operand; readonly axis: number; readonly split: number };
}

/** Whether the copied words of x are in the order in which they are written. */
function isFlatCopy({ shape, outputShape, inDType, outDType, x, joined, invert }: CopyProblem): boolean {
  if (inDType !== outDType || joined || invert) return false;
  const rows = [shape, outputShape].map((lengths) => rowPitch(lengths.at(-1)!, outDType) === lengths.at(-1)!);
  const isSame = shape.at(-1) === outputShape.at(-1) || rows.every(Boolean);
  const dense = contiguousStrides(shape, inDType);
  const isDense = shape.every((length, axis) => length === 1 || x.strides[axis] === dense[axis]);
  return isSame && isDense && (x.offset * BYTES[inDType]) % 4 === 0;
}

/** Row-major copy of a view, with conversion between the float types. */
export function planCopy(problem: CopyProblem, limits: Limits): Launch {
  const { op, shape, outputShape, inDType, outDType, x, joined } = problem;
  const lead = MAX_RANK - shape.length;
  const padded = (values: readonly number[], fill: number) => [...Array.from({ length: lead }, () => fill), ...values];
  const lengths = padded(shape, 1);
  // twin of the uniform struct `CopyOperand`
  const copyOperand = ({ strides, offset }: Operand) => {
    const all = padded(strides, 0);
    return { outer_strides: all.slice(0, 2), offset, strides: all.slice(2) };
  };
  const perWord = 4 / BYTES[outDType];
  const outputRow = outputShape.at(-1)!;
  const words = Math.ceil(storageSize(outputShape, outDType) / perWord);
  return {
    shader: copyShader,
    constants: {
      IN_BYTES: BYTES[inDType],
      OUT_BYTES: BYTES[outDType],
      INVERT: problem.invert ?? false,
      IS_FLAT: isFlatCopy(problem),
    },
    params: {
      words,
      first_word: problem.firstWord ?? 0,
      size: sizeOf(shape),
      row_words: Math.ceil(rowPitch(outputRow, outDType) / perWord),
      output_row: outputRow,
      split: joined?.split ?? lengths[0],
      axis: joined ? joined.axis + lead : 0,
      outer_shape: lengths.slice(0, 2),
      shape: lengths.slice(2),
      x: copyOperand(x),
      y: copyOperand(joined?.y ?? { strides: shape.map(() => 0), offset: 0 }),
    },
    workgroups: foldWorkgroups(op, Math.ceil(words / WORKGROUP), limits),
  };
}

export interface RotaryEmbeddingProblem {
  /** The op's name, for errors. */
  readonly op: string;
  /** [B, H, N, D]. */
  readonly shape: readonly [number, number, number, number];
  /** Columns that are rotated, even. */
  readonly rotaryDim: number;
  /** Rows P of the tables. */
  readonly tableRows: number;
  readonly dtype: FloatDType;
  /** Strides of batch, head, row, column. */
  readonly x: Operand;
  /** Its columns are neighbours. */
  readonly output: Operand;
  /** Strides of position and pair. */
  readonly cos: Operand;
  readonly sin: Operand;
  /** Position of row 0. */
  readonly offset: number;
  /** Strides of batch and row; `all`: the positions themselves, else those of each entry's row 0. */
  readonly positions?: Operand & { readonly all: boolean };
  readonly interleaved: boolean;
  /** By the negative angles. */
  readonly isInverse: boolean;
}

export function planRotaryEmbedding(problem: RotaryEmbeddingProblem, limits: Limits): Launch {
  const { op, shape, dtype, x, output, cos, sin, positions } = problem;
  const [batch, heads, length, columns] = shape;
  const rowQuads = Math.ceil(columns / 4);
  const quads = batch * heads * length * rowQuads;
  return {
    shader: rotaryShader,
    constants: { F16: dtype === 'float16' },
    params: {
      quads,
      row_quads: rowQuads,
      columns,
      length,
      heads,
      table_rows: problem.tableRows,
      is_inverse: problem.isInverse ? 1 : 0,
      x: operandFields(x),
      output: operandFields(output),
      rotary: {
        dim: problem.rotaryDim,
        is_interleaved: problem.interleaved ? 1 : 0,
        cos: operandFields(cos),
        sin: operandFields(sin),
      },
      positions: {
        first: problem.offset,
        row_step: positions?.all ? 0 : 1,
        is_given: positions ? 1 : 0,
        given: operandFields(positions ?? { strides: [0, 0], offset: 0 }),
      },
    },
    workgroups: foldWorkgroups(op, Math.ceil(quads / WORKGROUP), limits),
  };
}
