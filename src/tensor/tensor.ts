import type { StorageBuffer } from '../gpu/buffers.ts';
import { ArgumentError } from '../gpu/errors.ts';
import type { Device } from './device.ts';
import { BYTES, type DType, type TensorData } from './dtype.ts';
import { decodeFloat16 } from './float16.ts';
import {
  broadcastStrides,
  checkShape,
  contiguousStrides,
  extent,
  formatShape,
  reshapeStrides,
  sizeOf,
  type Shape,
} from './shape.ts';

/** A GPU buffer shared by the tensors that view it; freed with the last of them. */
export class Storage {
  readonly buffer: StorageBuffer;
  readonly #free: (() => void) | undefined;
  #holders = 0;

  /** `free` is absent for a buffer that somebody else owns. */
  constructor(buffer: StorageBuffer, free?: () => void) {
    this.buffer = buffer;
    this.#free = free;
  }

  hold(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders === 0) this.#free?.();
  }
}

/** Where a tensor's elements lie in its storage. */
export interface View {
  readonly shape: Shape;
  /** Elements between neighbours along each axis. */
  readonly strides: readonly number[];
  /** Element at which the view begins. */
  readonly offset: number;
}

/**
 * A strided view of numbers on the GPU. The caller owns every tensor that a call returns: `dispose()` it, declare it
 * with `using`, or make it inside `device.scope`. Views share their storage, which lives as long as any of them.
 */
export class Tensor {
  readonly device: Device;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly strides: readonly number[];
  readonly offset: number;
  readonly #storage: Storage;
  #disposed = false;

  /** Made by `device.tensor` and the ops, not by users. */
  constructor(device: Device, storage: Storage, dtype: DType, { shape, strides, offset }: View) {
    this.device = device;
    this.dtype = dtype;
    this.shape = Object.freeze([...shape]);
    this.strides = Object.freeze([...strides]);
    this.offset = offset;
    this.#storage = storage;
    storage.hold();
    device.track(this);
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  get rank(): number {
    return this.shape.length;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Whether the elements lie in row-major order without gaps (but for float16's row padding). */
  get isContiguous(): boolean {
    const strides = contiguousStrides(this.shape, this.dtype);
    return this.shape.every((length, axis) => length === 1 || strides[axis] === this.strides[axis]);
  }

  /**
   * The WebGPU buffer, for code that works with it directly; element `[i, j, …]` is at `offset + i·strides[0] + …`.
   * float16 is two bytes an element with rows padded to an even length, bool one byte. What was recorded before is
   * submitted first, so that work which the caller submits afterwards sees it. Valid until the tensor is disposed.
   */
  get buffer(): GPUBuffer {
    const { gpu } = this.storage('buffer');
    this.device.flush();
    return gpu;
  }

  /** @internal The runtime's buffer; `caller` names the op in the error thrown for a disposed tensor. */
  storage(caller: string): StorageBuffer {
    this.assertAlive(caller);
    return this.#storage.buffer;
  }

  /** @internal */
  assertAlive(caller: string): void {
    if (this.#disposed)
      throw new ArgumentError(`${caller}: the tensor of shape ${formatShape(this.shape)} is disposed`);
    this.device.assertUsable();
  }

  /**
   * Waits for the GPU and copies the elements to the host in row-major order: Float32Array for both float types,
   * Uint8Array for bool, Int32Array or Uint32Array.
   *
   * @throws the first GPU-side failure since the last wait
   */
  async data(): Promise<TensorData> {
    const buffer = this.storage('data');
    const { device, dtype, shape, strides, offset } = this;
    const count = extent(shape, strides);
    // whole words around the view; the first element's place in them is what is left of the offset
    const first = Math.floor((offset * BYTES[dtype]) / 4) * 4;
    const end = Math.ceil(((offset + count) * BYTES[dtype]) / 4) * 4;
    const bytes = await device.runtime.read(buffer, first, end - first);
    const stored = decode(bytes, dtype);
    return gather(stored, shape, strides, offset - first / BYTES[dtype]);
  }

  /**
   * A view with another shape; one length may be −1.
   *
   * @throws ArgumentError where the sizes differ, or where no view can show the elements in that order
   */
  reshape(shape: Shape): Tensor {
    this.assertAlive('reshape');
    const target = inferShape(this, shape);
    const strides = reshapeStrides(this.shape, this.strides, target);
    if (!strides) {
      throw new ArgumentError(
        `reshape: a view of shape ${formatShape(this.shape)} and strides ${formatShape(this.strides)} cannot be ` +
          `viewed as ${formatShape(target)}; the op reshape(x, shape) makes a copy`,
      );
    }
    return this.#view({ shape: target, strides, offset: this.offset });
  }

  /** A view with two axes exchanged; negative axes count from the end. Default: the last two. */
  transpose(a = -2, b = -1): Tensor {
    this.assertAlive('transpose');
    const [x, y] = [normaliseAxis('transpose', this, a), normaliseAxis('transpose', this, b)];
    const order = this.shape.map((_, axis) => (axis === x ? y : axis === y ? x : axis));
    return this.#view({
      shape: order.map((axis) => this.shape[axis]),
      strides: order.map((axis) => this.strides[axis]),
      offset: this.offset,
    });
  }

  /** A view of `[start, end)` along an axis; negative positions count from the end, and `end` defaults to it. */
  slice(axis: number, start: number, end?: number): Tensor {
    this.assertAlive('slice');
    const at = normaliseAxis('slice', this, axis);
    const length = this.shape[at];
    const from = start < 0 ? start + length : start;
    const to = end === undefined ? length : end < 0 ? end + length : end;
    if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to > length || from >= to) {
      throw new ArgumentError(
        `slice: start and end must select at least one of the ${length} positions of axis ${axis}, got ${start} and ${end}`,
      );
    }
    return this.#view({
      shape: this.shape.map((n, i) => (i === at ? to - from : n)),
      strides: this.strides,
      offset: this.offset + from * this.strides[at],
    });
  }

  /** A view broadcast to another shape by NumPy's rules: repeated elements are not copied. */
  expand(shape: Shape): Tensor {
    this.assertAlive('expand');
    checkShape('expand', shape);
    const strides = broadcastStrides(this.shape, this.strides, shape);
    if (!strides) {
      throw new ArgumentError(
        `expand: shape must be one that ${formatShape(this.shape)} broadcasts to, got ${formatShape(shape)}`,
      );
    }
    return this.#view({ shape, strides, offset: this.offset });
  }

  /** Gives up this handle; the storage goes back to the pool with its last view. Calling it again does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#storage.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `Tensor(${this.dtype} ${formatShape(this.shape)})`;
  }

  /** What Node's console prints, instead of the device and all below it. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  #view(view: View): Tensor {
    return new Tensor(this.device, this.#storage, this.dtype, view);
  }
}

function normaliseAxis(call: string, { shape }: Tensor, axis: number): number {
  const normal = axis < 0 ? axis + shape.length : axis;
  if (!Number.isInteger(axis) || normal < 0 || normal >= shape.length) {
    throw new ArgumentError(`${call}: axis must be an axis of shape ${formatShape(shape)}, got ${axis}`);
  }
  return normal;
}

/**
 * `shape` with its one length of −1 filled in.
 *
 * @throws ArgumentError unless it has as many elements as the tensor
 */
export function inferShape(tensor: Tensor, shape: Shape): Shape {
  if (!Array.isArray(shape)) checkShape('reshape', shape);
  const wild = shape.indexOf(-1);
  const known = sizeOf(shape.filter((length) => length !== -1));
  const target = wild < 0 ? shape : shape.with(wild, tensor.size / known);
  if (target.some((length) => !Number.isInteger(length) || length < 0) || sizeOf(target) !== tensor.size) {
    throw new ArgumentError(
      `reshape: shape must have ${tensor.size} elements as ${formatShape(tensor.shape)} has, got ${formatShape(shape)}`,
    );
  }
  checkShape('reshape', target);
  return target;
}

function decode(bytes: ArrayBuffer, dtype: DType): TensorData {
  switch (dtype) {
    case 'float32':
      return new Float32Array(bytes);
    case 'float16':
      return decodeFloat16(new Uint16Array(bytes));
    case 'bool':
      return new Uint8Array(bytes);
    case 'int32':
      return new Int32Array(bytes);
    case 'uint32':
      return new Uint32Array(bytes);
  }
}

function gather(stored: TensorData, shape: Shape, strides: readonly number[], offset: number): TensorData {
  const size = sizeOf(shape);
  const dense = contiguousStrides(shape, 'float32');
  if (shape.every((length, axis) => length === 1 || strides[axis] === dense[axis])) {
    return stored.length === size ? stored : stored.slice(offset, offset + size);
  }
  const result = new (stored.constructor as Float32ArrayConstructor)(size) as TensorData;
  const rowLength = shape.at(-1) ?? 1;
  const step = strides.at(-1) ?? 1;
  const index = shape.slice(0, -1).map(() => 0);
  let at = offset;
  for (let row = 0; row < size; row += rowLength) {
    for (let i = 0; i < rowLength; i++) result[row + i] = stored[at + i * step]!;
    for (let axis = index.length - 1; axis >= 0; axis--) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) break;
      at -= index[axis] * strides[axis];
      index[axis] = 0;
    }
  }
  return result;
}
