/** What an option's record is made of, and the checks that several share. */
import { ArgumentError } from '../../../gpu/errors.ts';
import type { UniformValues } from '../../../gpu/reflect.ts';
import type { Constants, Insertion } from '../../../gpu/shader.ts';
import type { OptionFields } from '../../../kernels/attention.ts';
import { formatShape } from '../../../tensor/shape.ts';
import { Tensor } from '../../../tensor/tensor.ts';
import { checkSameDevice, checkTensor, describe } from '../../internal/check.ts';
import type { Segment } from '../../internal/table.ts';
import type { AttentionOptions } from './options.ts';

/** A call as its options see it. */
export interface CallSizes {
  /** The op's name, for errors. */
  readonly op: string;
  /** The tensor whose device and dtype the options' tensors must have, and its name in errors. */
  readonly like: { readonly name: string; readonly tensor: Tensor };
  /** Batch entries; the sequences of a packed batch. */
  readonly batch: number;
  readonly heads: number;
  /** Queries and keys of the longest sequence. */
  readonly queryLength: number;
  readonly keyLength: number;
  readonly headDim: number;
  /** The user's tensors have three axes: masks broadcast to a shape without an axis of heads. */
  readonly isHeadless: boolean;
  readonly packing?: Packing;
}

/** The effect of an option that is given. */
export interface Effect {
  /** Constants that differ from their defaults, in the parts that read the option. */
  readonly constants?: Constants;
  /** Small inputs, which are joined with those of other options in the binding `table`. */
  readonly segments?: readonly Segment[];
  /** Uniform fields by struct, given the words of `table` at which the segments begin. */
  readonly fields?: (at: readonly number[]) => Readonly<Record<string, UniformValues>>;
  /** Large inputs, by their bindings. */
  readonly bindings?: Readonly<Record<string, Tensor>>;
  /** Tensors that may be asked for a gradient, by their names on the tape. */
  readonly inputs?: Readonly<Record<string, Tensor>>;
  /** Why the call has no gradient. */
  readonly refusal?: string;
  readonly insertions?: readonly Insertion[];
  /** Further insertions, for the gradient's kernels only. */
  readonly derivatives?: readonly Insertion[];
  readonly band?: OptionFields['band'];
  readonly isPacked?: boolean;
  readonly maskBlock?: number;
}

export interface OptionRecord {
  readonly names: readonly (keyof AttentionOptions)[];
  /** Its uniform fields if it is not given. */
  readonly absent: Readonly<Record<string, UniformValues>>;
  /** @throws ArgumentError for a value that does not fit */
  readonly resolve: (options: AttentionOptions, sizes: CallSizes) => Effect | undefined;
}

/** In a uniform, the place in `table` of something that is not there. */
export const ABSENT = 0xffffffff;

/** Sequences of a packed batch. */
export interface Packing {
  readonly count: number;
  /** Lengths of the longest sequence. */
  readonly queryLength: number;
  readonly keyLength: number;
  /** Cumulative query lengths, then cumulative key lengths. */
  readonly words: Uint32Array;
}

type Numbers = readonly number[] | Float32Array | Int32Array | Uint32Array;

function isNumbers(values: unknown): values is Numbers {
  return (
    Array.isArray(values) ||
    values instanceof Float32Array ||
    values instanceof Int32Array ||
    values instanceof Uint32Array
  );
}

/** Numbers, one for each head, or a float32 tensor of one of the shapes. */
export function checkFloats(
  name: string,
  values: unknown,
  shapes: readonly (readonly number[])[],
  { op, like }: CallSizes,
): Segment {
  const expected = shapes.map(formatShape).join(' or ');
  if (isNumbers(values)) {
    if (values.length !== shapes[0][0] || !Array.from(values, Math.fround).every((value) => value < Infinity)) {
      throw new ArgumentError(
        `${op}: ${name} must be ${shapes[0][0]} numbers, one for each head, got ${describe(values)}`,
      );
    }
    return { words: Float32Array.from(values) };
  }
  if (!(values instanceof Tensor)) {
    throw new ArgumentError(
      `${op}: ${name} must be numbers or a float32 tensor of ${expected}, got ${describe(values)}`,
    );
  }
  checkTensor(op, name, values);
  checkSameDevice(op, like.name, like.tensor, name, values);
  if (values.dtype !== 'float32' || !shapes.some((shape) => formatShape(shape) === formatShape(values.shape))) {
    throw new ArgumentError(`${op}: ${name} must be a float32 tensor of ${expected}, got ${describe(values)}`);
  }
  return { tensor: values };
}

/** Whole numbers, one for each batch entry. */
export function checkIntegers(
  name: string,
  values: unknown,
  [least, most]: readonly [number, number],
  dtypes: readonly string[],
  { op, batch, like }: CallSizes,
): Segment {
  if (isNumbers(values)) {
    const isValid = (value: number) => Number.isInteger(value) && value >= least && value <= most;
    if (values.length !== batch || !Array.from(values).every(isValid)) {
      throw new ArgumentError(
        `${op}: ${name} must be ${batch} whole numbers from ${least} to ${most}, one for each batch entry, got ${describe(values)}`,
      );
    }
    return { words: Int32Array.from(values) };
  }
  const expected = `an ${dtypes.join(' or ')} tensor of [${batch}]`;
  if (!(values instanceof Tensor)) {
    throw new ArgumentError(`${op}: ${name} must be ${batch} whole numbers or ${expected}, got ${describe(values)}`);
  }
  checkTensor(op, name, values);
  checkSameDevice(op, like.name, like.tensor, name, values);
  if (!dtypes.includes(values.dtype) || values.rank !== 1 || values.shape[0] !== batch) {
    throw new ArgumentError(`${op}: ${name} must be ${expected}, got ${describe(values)}`);
  }
  return { tensor: values };
}
