/**
 * Joins the small inputs of an op in one buffer: numbers for each head or batch entry, page tables, block kinds, captured
 * tensors. WebGPU promises eight storage buffers per kernel, and the large operands take seven.
 */
import type { Device } from '../../tensor/device.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { BYTES } from '../../tensor/dtype.ts';
import { clone } from '../copy.ts';
import { copyWords, wordsOf } from './copy.ts';

/** Numbers from the host, or a tensor. */
export type Segment = { readonly words: Uint32Array | Int32Array | Float32Array } | { readonly tensor: Tensor };

export interface Table {
  /** Absent if there are no segments. */
  readonly table?: Tensor;
  /** The word at which each segment begins. */
  readonly places: readonly number[];
}

/** Joins segments. Call it inside a scope, which frees the table. A single tensor with its own buffer is used as it is. */
export function joinTable(op: string, device: Device, given: readonly Segment[]): Table {
  if (given.length === 0) return { places: [] };
  const segments = given.map((segment) => ('tensor' in segment ? { tensor: inWords(segment.tensor) } : segment));
  const [first] = segments;
  if (segments.length === 1 && 'tensor' in first && first.tensor.isContiguous && first.tensor.offset === 0) {
    return { table: first.tensor, places: [0] };
  }
  // the host's numbers first, in one write
  const order = [...segments.keys()].sort((a, b) => Number('tensor' in segments[a]) - Number('tensor' in segments[b]));
  const places = segments.map(() => 0);
  let size = 0;
  let hostSize = 0;
  for (const i of order) {
    const segment = segments[i];
    places[i] = size;
    size += 'tensor' in segment ? wordsOf(segment.tensor) : segment.words.length;
    if (!('tensor' in segment)) hostSize = size;
  }
  const host = new Uint32Array(hostSize);
  segments.forEach((segment, i) => {
    if ('tensor' in segment) return;
    host.set(new Uint32Array(segment.words.buffer, segment.words.byteOffset, segment.words.length), places[i]);
  });
  const table = hostSize > 0 ? device.words(host, op, size) : device.empty([size], 'uint32', op);
  segments.forEach((segment, i) => {
    if ('tensor' in segment) copyWords(op, segment.tensor, table, places[i]);
  });
  return { table, places };
}

/** The tensor, or a copy if its elements share words with those of others. */
function inWords(tensor: Tensor): Tensor {
  const bytes = BYTES[tensor.dtype];
  const liesInWords = bytes === 4 || (tensor.isContiguous && (tensor.offset * bytes) % 4 === 0);
  return liesInWords ? tensor : clone(tensor);
}
