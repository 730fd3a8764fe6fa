/** A dense array on the host, row-major. A Uint8Array holds bools; anything else holds numbers. */
export interface HostArray {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

/** What the references return: float64, of the given shape. */
export interface Float64HostArray extends HostArray {
  readonly data: Float64Array;
}

export function zeros(shape: readonly number[]): Float64HostArray {
  return { shape, data: new Float64Array(sizeOf(shape)) };
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, length) => size * length, 1);
}

/** Elements between neighbours along each axis of a dense array broadcast to `target`: 0 along an axis that repeats. */
export function broadcastStrides(shape: readonly number[], target: readonly number[]): number[] {
  const missing = target.length - shape.length;
  let stride = 1;
  const strides = target.map(() => 0);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] === target[axis + missing]) strides[axis + missing] = stride;
    else if (shape[axis] !== 1 || missing < 0) throw new Error(`[${shape}] does not broadcast to [${target}]`);
    stride *= shape[axis];
  }
  return strides;
}

/** NumPy's common shape of two arrays. */
export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const [x, y] = [a[axis - rank + a.length] ?? 1, b[axis - rank + b.length] ?? 1];
    if (x !== y && x !== 1 && y !== 1) throw new Error(`[${a}] and [${b}] do not broadcast together`);
    return x === 1 ? y : x;
  });
}

/** A copy of `array` repeated to `target`'s shape. */
export function broadcast(array: HostArray, target: readonly number[]): Float64HostArray {
  const strides = broadcastStrides(array.shape, target);
  const result = zeros(target);
  for (let flat = 0; flat < result.data.length; flat++) {
    let rest = flat;
    let from = 0;
    for (let axis = target.length - 1; axis >= 0; axis--) {
      from += (rest % target[axis]) * strides[axis];
      rest = Math.floor(rest / target[axis]);
    }
    result.data[flat] = array.data[from];
  }
  return result;
}

/** The sum over the axes along which `shape` was broadcast to the array's: what `broadcast` does to gradients. */
export function sumTo(array: HostArray, shape: readonly number[]): Float64HostArray {
  const sources = broadcast({ shape, data: Array.from({ length: sizeOf(shape) }, (_, at) => at) }, array.shape);
  const sum = zeros(shape);
  for (const [at, source] of sources.data.entries()) sum.data[source] += array.data[at];
  return sum;
}

/** A copy of the elements from `start` to before `end` along an axis; of bools, bools. */
export function slice({ shape, data }: HostArray, axis: number, start: number, end: number): HostArray {
  const inner = sizeOf(shape.slice(axis + 1));
  const part = [...shape.slice(0, axis), end - start, ...shape.slice(axis + 1)];
  const values = data instanceof Uint8Array ? new Uint8Array(sizeOf(part)) : new Float64Array(sizeOf(part));
  const run = (end - start) * inner;
  for (let at = 0; at < values.length; at++) {
    values[at] = data[(Math.floor(at / run) * shape[axis] + start) * inner + (at % run)];
  }
  return { shape: part, data: values };
}

/** The arrays one after another along an axis; of bools, bools. */
export function concat(arrays: readonly HostArray[], axis: number): HostArray {
  const [first] = arrays;
  const length = arrays.reduce((sum, { shape }) => sum + shape[axis], 0);
  const whole = [...first.shape.slice(0, axis), length, ...first.shape.slice(axis + 1)];
  const inner = sizeOf(first.shape.slice(axis + 1));
  const values = first.data instanceof Uint8Array ? new Uint8Array(sizeOf(whole)) : new Float64Array(sizeOf(whole));
  let start = 0;
  for (const { shape, data } of arrays) {
    const run = shape[axis] * inner;
    for (let at = 0; at < data.length; at++) {
      values[(Math.floor(at / run) * length + start) * inner + (at % run)] = data[at];
    }
    start += shape[axis];
  }
  return { shape: whole, data: values };
}
