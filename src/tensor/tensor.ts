import { sizeClass, type StorageBuffer } from '../gpu/buffers.ts';
import { ArgumentError } from '../gpu/errors.ts';
import type { WebGPUBuffer } from '../gpu/global-types.ts';
import type { WaitOptions } from '../gpu/runtime.ts';
import type { Device } from './device.ts';
import { BYTES, type DType, type FloatDType, type TensorData } from './dtype.ts';
import { decodeFloat16 } from './float16.ts';
import { checkOptions, checkWait, WAIT_OPTIONS } from './options.ts';
import { formatShown, LINE_WIDTH, takeShown, type Shown } from './print.ts';
import {
  broadcastStrides,
  checkShape,
  contiguousStrides,
  extent,
  formatShape,
  reshapeStrides,
  sizeOf,
  storageSize,
  type Shape,
} from './shape.ts';

/** What is to be in a storage before anything else, and is written to it only when somebody asks. */
export interface FirstContents {
  /** Elements, with the padding of rows. */
  readonly size: number;
  /** Records the work. Returns false where nothing runs, and so the contents are still to come. */
  write(): boolean;
}

/** A GPU buffer shared by the tensors that view it; freed with the last of them. It must not lead back to a tensor. */
export class Storage {
  readonly buffer: StorageBuffer;
  /** How often it was written to in place. */
  version = 0;
  /** Whether somebody else has the buffer, so that it may be written to unnoticed. */
  isExposed: boolean;
  readonly #free: (() => void) | undefined;
  #holders = 0;
  #first: FirstContents | undefined;

  /** `free` is absent for a buffer that somebody else owns. */
  constructor(buffer: StorageBuffer, free?: () => void, first?: FirstContents) {
    this.buffer = buffer;
    this.isExposed = free === undefined;
    this.#free = free;
    this.#first = first;
  }

  /** Writes the first contents, unless they are there. Returns the buffer. */
  fill(): StorageBuffer {
    if (this.#first?.write()) this.#first = undefined;
    return this.buffer;
  }

  /** Runs `write`, which overwrites so many elements from the start. If these are all, the first contents need not come. */
  overwrite(size: number, write: () => void): void {
    const first = this.#first;
    if (first?.size === size) this.#first = undefined;
    try {
      write();
    } catch (error) {
      this.#first = first; // nothing was recorded
      throw error;
    }
  }

  get isUnshared(): boolean {
    return this.#holders === 1;
  }

  hold(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders === 0) this.#free?.();
  }
}

/**
 * Releases the storage of tensors that nobody disposed and nobody can reach any more. It is a last resort on which nothing
 * relies: it comes late or never. What such a tensor kept of a graph is reachable from it alone, and released likewise.
 */
const unreachable =
  typeof FinalizationRegistry === 'function'
    ? new FinalizationRegistry<Storage>((storage) => storage.release())
    : undefined;

/** Where a tensor's elements are in its storage. */
export interface View {
  readonly shape: Shape;
  /** Elements between neighbours along each axis. */
  readonly strides: readonly number[];
  /** Element at which the view begins. */
  readonly offset: number;
}

// All that this room knows about gradients is who keeps them. The tape itself is above, and is passed in.

/** Where a tensor came from and its gradient goes. The tape makes it. Tensors hold it as they hold their storage. */
export interface Origin {
  /** Whether it is the user's own tensor, whose gradient is kept, rather than the result of a call. */
  readonly isLeaf: boolean;
  grad: Tensor | undefined;
  hold(): void;
  release(): void;
}

/** How a view was made from another tensor. */
export type ViewStep =
  | { readonly kind: 'reshape' | 'expand'; readonly from: Shape }
  | { readonly kind: 'transpose'; readonly axes: readonly [number, number] }
  | { readonly kind: 'slice'; readonly axis: number; readonly start: number };

/** What `Device` and `Tensor` hold of the tape. */
export interface Tape {
  leaf(tensor: Tensor): Origin;
  viewed(source: Tensor, view: Tensor, step: ViewStep): void;
  backward(root: Tensor, gradient?: Tensor): void;
}

/**
 * A strided view of numbers on the GPU. The caller owns every tensor that a call returns: `dispose()` it, declare it
 * with `using`, or make it inside `device.scope`. Views share their storage, which lives as long as any of them.
 * `D` is the dtype where it is known, for the type of `data()`.
 */
export class Tensor<D extends DType = DType> {
  readonly device: Device;
  readonly dtype: D;
  readonly shape: Shape;
  readonly strides: readonly number[];
  readonly offset: number;
  readonly #storage: Storage;
  #origin: Origin | undefined;
  /** What `data()` last read, for prints, and the version that it read. */
  #seen: { readonly version: number; readonly shown: Shown } | undefined;
  #disposed = false;

  /** Made by `device.tensor` and the ops, not by users. */
  constructor(device: Device, storage: Storage, dtype: D, { shape, strides, offset }: View) {
    this.device = device;
    this.dtype = dtype;
    this.shape = Object.freeze([...shape]);
    this.strides = Object.freeze([...strides]);
    this.offset = offset;
    this.#storage = storage;
    storage.hold();
    unreachable?.register(this, storage, this);
    device.track(this);
  }

  /**
   * Whether this class made the value. A Proxy of a tensor and an object with its prototype have none of its private fields, so
   * they are no tensors.
   */
  static [Symbol.hasInstance](value: unknown): value is Tensor {
    return typeof value === 'object' && value !== null && #storage in value;
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

  /** Whether the elements are in row-major order without gaps (except for float16's row padding). */
  get isContiguous(): boolean {
    const strides = contiguousStrides(this.shape, this.dtype);
    return this.shape.every((length, axis) => length === 1 || strides[axis] === this.strides[axis]);
  }

  /**
   * Whether calls on this tensor are recorded, so that `backward()` on their results computes its gradient. Set it on a float
   * tensor of your own (a leaf) before you use it. Results and views of such tensors require a gradient automatically. Setting
   * it to false drops the leaf's `grad`, and gradients of earlier calls no longer reach the leaf.
   *
   * @throws ArgumentError for other dtypes, and for false on a result; use `detach()` on a result instead
   */
  get requiresGrad(): boolean {
    return this.#origin !== undefined;
  }

  set requiresGrad(requires: boolean) {
    this.assertAlive('requiresGrad');
    if (typeof requires !== 'boolean') {
      throw new ArgumentError(`requiresGrad: it must be true or false, got ${String(requires)}`);
    }
    if (requires === this.requiresGrad) return;
    if (requires && this.dtype !== 'float32' && this.dtype !== 'float16') {
      throw new ArgumentError(`requiresGrad: the tensor must be float32 or float16, got ${this.dtype}`);
    }
    if (!requires && this.#origin?.isLeaf === false) {
      throw new ArgumentError(
        `requiresGrad: it must stay true for the result of a recorded call, got false; detach() gives a tensor off the tape`,
      );
    }
    this.device.beforeChange(this, () => {
      const origin = this.#origin;
      return () => (this.origin = origin);
    });
    this.origin = requires ? this.device.tape.leaf(this) : undefined;
  }

  /**
   * The gradient that `backward()` calls have added up, of this tensor's shape and dtype. It is undefined before the first
   * call, and on tensors that are not leaves. It is disposed with this tensor: `clone` it to keep it longer. To clear it,
   * assign undefined or dispose it.
   */
  get grad(): Tensor | undefined {
    return this.#origin?.grad;
  }

  set grad(gradient: Tensor | undefined) {
    this.assertAlive('grad');
    if (gradient === undefined) {
      if (this.#origin) this.#origin.grad = undefined;
      return;
    }
    if (this.#origin?.isLeaf !== true) {
      throw new ArgumentError(
        `grad: the tensor must be a leaf whose requiresGrad is true, got ${this.#origin ? 'a result' : 'one without'}`,
      );
    }
    if (!(gradient instanceof Tensor))
      throw new ArgumentError(`grad: it must be a Tensor, got ${otherThanTensor(gradient)}`);
    gradient.assertAlive('grad');
    if (gradient.device !== this.device) {
      throw new ArgumentError(`grad: it must be on the tensor's device, got a tensor of another device`);
    }
    if (gradient.dtype !== this.dtype || formatShape(gradient.shape) !== formatShape(this.shape)) {
      throw new ArgumentError(
        `grad: it must be ${this.dtype} ${formatShape(this.shape)} like the tensor, got ${gradient.dtype} ` +
          formatShape(gradient.shape),
      );
    }
    this.#origin.grad = gradient;
  }

  /**
   * Computes the gradient of this tensor with respect to every leaf that it was computed from, and adds it to the leaf's
   * `grad`, as torch.Tensor.backward. It frees what the recorded calls saved, so a second pass needs a second forward pass.
   * Queues its work and returns, as ops do.
   *
   * @param gradient of some scalar with respect to this tensor, of its shape and dtype; default 1 for a single element
   * @throws ArgumentError if no path leads to a leaf, a call has no gradient or was in an earlier backward pass, a saved
   *   tensor has been changed since, or the gradient does not fit; no `grad` has changed then
   */
  backward(gradient?: Tensor): void {
    this.assertAlive('backward');
    this.device.tape.backward(this, gradient);
  }

  /** A view off the tape: it requires no gradient, and none flows through it. */
  detach(): Tensor<D> {
    this.assertAlive('detach');
    return new Tensor(this.device, this.#storage, this.dtype, this);
  }

  /** @internal Where the gradient goes; set by the tape. */
  get origin(): Origin | undefined {
    return this.#origin;
  }

  set origin(origin: Origin | undefined) {
    origin?.hold();
    this.#origin?.release();
    this.#origin = origin;
  }

  /** @internal Another handle on the same elements, off the tape and out of any scope. */
  hold(): Tensor<D> {
    const handle = this.detach();
    this.device.keep(handle);
    return handle;
  }

  /** @internal Nobody else sees these elements. */
  get isUnshared(): boolean {
    return this.#storage.isUnshared;
  }

  /** @internal The storage is no larger than a tensor of this shape needs. */
  get fillsStorage(): boolean {
    return this.#storage.buffer.bytes <= sizeClass(storageSize(this.shape, this.dtype) * BYTES[this.dtype]);
  }

  /** @internal How often the elements were changed in place. */
  get version(): number {
    return this.#storage.version;
  }

  /** @internal Notes that a kernel changes the elements in place. */
  changed(): void {
    if (!this.device.runtime.isPlanning) this.#storage.version++;
  }

  /**
   * The WebGPU buffer, for code that works with it directly; element `[i, j, …]` is at `offset + i·strides[0] + …`.
   * float16 is two bytes an element with rows padded to an even length, bool one byte. Recorded work is submitted first, so
   * that work which the caller submits afterwards sees its results. Valid until the tensor is disposed. From now on the
   * collector leaves this tensor's memory alone, because it does not see who uses the buffer.
   */
  get buffer(): WebGPUBuffer {
    const { gpu } = this.storage('buffer');
    this.device.refuseRehearsal('buffer');
    this.#storage.isExposed = true;
    unreachable?.unregister(this);
    this.device.flush();
    return gpu;
  }

  /** @internal The runtime's buffer; `caller` names the op in the error thrown for a disposed tensor. */
  storage(caller: string): StorageBuffer {
    this.assertAlive(caller);
    return this.#storage.fill();
  }

  /** @internal The same for all tensors that share a storage, whether or not it is written to yet. */
  get place(): object {
    return this.#storage;
  }

  /** @internal Runs `write`, whose kernel overwrites every element of this tensor, which lies row-major in its storage. */
  overwrite(write: () => void): void {
    if (this.offset !== 0 || this.device.runtime.isPlanning) write();
    else this.#storage.overwrite(storageSize(this.shape, this.dtype), write);
  }

  /** @internal */
  assertAlive(caller: string): void {
    if (!(#storage in this)) throw new ArgumentError(`${caller}: the tensor must be a Tensor, got ${LOOKALIKE}`);
    if (this.#disposed)
      throw new ArgumentError(`${caller}: the tensor of shape ${formatShape(this.shape)} is disposed`);
    this.device.assertUsable();
  }

  /**
   * Waits for the GPU and copies the elements to the host in row-major order: Float32Array for both float types,
   * Uint8Array for bool, Int32Array or Uint32Array.
   *
   * @param options `signal` ends the wait, and `onProgress` watches it, as for `device.sync`
   * @throws ArgumentError if `signal` is no AbortSignal or `onProgress` no function
   * @throws the first GPU-side failure since the last wait
   * @throws the signal's reason if it is aborted, or what `onProgress` throws; failures are then left to the next wait
   */
  data(options: WaitOptions = {}): Promise<TensorData<D>> {
    if (!(#storage in this)) {
      return Promise.reject(new ArgumentError(`data: the tensor must be a Tensor, got ${LOOKALIKE}`));
    }
    return this.device.heard(this.#data(options));
  }

  async #data(options: WaitOptions): Promise<TensorData<D>> {
    this.device.refuseRehearsal('data');
    checkOptions('data', options, WAIT_OPTIONS);
    checkWait('data', options);
    const buffer = this.storage('data');
    const { device, dtype, shape, strides, offset, version } = this;
    const count = extent(shape, strides);
    // read whole words around the view; the offset then counts from the first of them
    const first = Math.floor((offset * BYTES[dtype]) / 4) * 4;
    const end = Math.ceil(((offset + count) * BYTES[dtype]) / 4) * 4;
    const bytes = await device.runtime.read(buffer, first, end - first, options);
    const stored = decode(bytes, dtype);
    const data = gather(stored, shape, strides, offset - first / BYTES[dtype]);
    if (!this.#disposed) this.#seen = { version, shown: takeShown(data, shape, dtype) };
    return data as TensorData<D>;
  }

  /**
   * A view with another shape; one length may be −1.
   *
   * @throws ArgumentError if the sizes differ, or if no view can show the elements in that order
   */
  reshape(shape: Shape): Tensor<D> {
    this.assertAlive('reshape');
    const target = inferShape(this, shape);
    const strides = reshapeStrides(this.shape, this.strides, target);
    if (!strides) {
      throw new ArgumentError(
        `reshape: a view of shape ${formatShape(this.shape)} and strides ${formatShape(this.strides)} cannot be ` +
          `viewed as ${formatShape(target)}; the op reshape(x, shape) makes a copy`,
      );
    }
    return this.#view({ shape: target, strides, offset: this.offset }, { kind: 'reshape', from: this.shape });
  }

  /** A view with two axes exchanged; negative axes count from the end. Default: the last two. */
  transpose(a = -2, b = -1): Tensor<D> {
    this.assertAlive('transpose');
    const [x, y] = [normaliseAxis('transpose', this, a), normaliseAxis('transpose', this, b)];
    const order = this.shape.map((_, axis) => (axis === x ? y : axis === y ? x : axis));
    const view = {
      shape: order.map((axis) => this.shape[axis]),
      strides: order.map((axis) => this.strides[axis]),
      offset: this.offset,
    };
    return this.#view(view, { kind: 'transpose', axes: [x, y] });
  }

  /** A view of `[start, end)` along an axis; negative positions count from the end, and `end` defaults to it. */
  slice(axis: number, start: number, end?: number): Tensor<D> {
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
    const view = {
      shape: this.shape.map((n, i) => (i === at ? to - from : n)),
      strides: this.strides,
      offset: this.offset + from * this.strides[at],
    };
    return this.#view(view, { kind: 'slice', axis: at, start: from });
  }

  /** A view broadcast to another shape by NumPy's rules: repeated elements are not copied. */
  expand(shape: Shape): Tensor<D> {
    this.assertAlive('expand');
    checkShape('expand', shape);
    const strides = broadcastStrides(this.shape, this.strides, shape);
    if (!strides) {
      throw new ArgumentError(
        `expand: shape must be one that ${formatShape(this.shape)} broadcasts to, got ${formatShape(shape)}`,
      );
    }
    return this.#view({ shape, strides, offset: this.offset }, { kind: 'expand', from: this.shape });
  }

  /**
   * Disposes this handle. The storage goes back to the pool when its last view is disposed and no recorded call has it saved.
   * A leaf's gradient is disposed too. Calling it again does nothing. Do not leave it to the garbage collector, which knows
   * nothing of GPU memory and may collect a forgotten tensor late or never.
   */
  dispose(): void {
    if (!(#storage in this)) throw new ArgumentError(`dispose: the tensor must be a Tensor, got ${LOOKALIKE}`);
    if (this.#disposed || this.device.outlivesRehearsal(this)) return;
    this.#disposed = true;
    this.#seen = undefined;
    unreachable?.unregister(this);
    this.origin = undefined;
    this.#storage.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /**
   * The dtype, shape and device, and the values that `data()` read last, as PyTorch prints them: four digits, and of more than
   * 1,000 elements only the first and last three along each axis. Values are left out if they may have changed since: after a
   * write in place, or if other code has the buffer. It waits for nothing.
   */
  toString(): string {
    if (!(#storage in this)) return 'Tensor';
    const shown = this.#currentlyShown();
    if (!shown) return `Tensor(${this.#facts()})`;
    const values = formatShown(shown, 'Tensor('.length);
    const facts = `${this.#facts()})`;
    const isLong = values.length - values.lastIndexOf('\n') + facts.length > LINE_WIDTH;
    return `Tensor(${values},${isLong ? '\n       ' : ' '}${facts}`;
  }

  /** What consoles of Node, Bun and Deno print, instead of the device and everything inside it. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  #currentlyShown(): Shown | undefined {
    const isCurrent = this.#seen?.version === this.#storage.version && !this.#storage.isExposed;
    return isCurrent ? this.#seen?.shown : undefined;
  }

  #facts(): string {
    const what = `${this.dtype} ${formatShape(this.shape)} on ${this.device.name}`;
    return `${what}${this.requiresGrad ? ', requiresGrad' : ''}${this.#disposed ? ', disposed' : ''}`;
  }

  #view(place: View, step: ViewStep): Tensor<D> {
    const view = new Tensor(this.device, this.#storage, this.dtype, place);
    if (this.#origin) this.device.tape.viewed(this, view, step);
    return view;
  }
}

/** A tensor of float32 or float16, as most ops return. */
export type FloatTensor = Tensor<FloatDType>;

/** What a value is that seems to be a tensor and is none, for errors. */
export const LOOKALIKE = 'an object that only looks like one, such as a Proxy of a tensor';

/** Whether a value that is no tensor has the prototype of one. */
export function looksLikeTensor(value: unknown): boolean {
  return Object.prototype.isPrototypeOf.call(Tensor.prototype, value as object);
}

/** What a value is that should be a tensor, for errors. */
export function otherThanTensor(value: unknown): string {
  if (looksLikeTensor(value)) return LOOKALIKE;
  return typeof value === 'object' && value !== null ? (value.constructor?.name ?? 'an object') : String(value);
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
