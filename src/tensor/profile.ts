/** What `device.profile` takes and returns. */
import { ArgumentError } from '../gpu/errors.ts';
import type { Constants } from '../gpu/shader.ts';
import { BYTES } from './dtype.ts';
import { checkOptions } from './options.ts';
import type { Tensor } from './tensor.ts';

/** The most that a device can do, as `webgpu-attention bench` measures it. */
export interface ProfileRoof {
  /** Billions of bytes a second, read plus written by a kernel that copies. */
  copyGBs: number;
  /** Billions of float32 operations a second; a multiply-add counts as two. */
  f32Gflops: number;
}

export interface ProfileOptions {
  /** The device's roof, such as `roof` in a result of `webgpu-attention bench --json`. With it, rows have a `roofShare`. */
  roof?: ProfileRoof;
}

export interface DispatchTime {
  /** The op. */
  readonly label: string;
  /** Milliseconds on the GPU. */
  readonly gpuTime: number;
}

/** All calls of one kernel by one op. */
export interface KernelProfile {
  /** The op that called it, as errors name it. */
  readonly op: string;
  /** The shader, as `webgpu-attention shader` names it. */
  readonly kernel: string;
  /** The shader's constants in this variant. Variants have rows of their own. */
  readonly constants: Constants;
  /** How often the op called it. A long call, which is divided into several dispatches, is one. */
  readonly calls: number;
  /** Milliseconds on the GPU over all calls, without compilation; undefined if the device has no timestamp queries. */
  readonly gpuTime: number | undefined;
  /** `gpuTime` as a share of the whole profile's. */
  readonly timeShare: number | undefined;
  /**
   * Bytes of the tensors that the kernel reads, and of those that it writes, over all calls. Each tensor counts once a call, with
   * the elements that it has in memory: broadcast axes do not count. One that is updated in place counts as written only.
   * This is the least that has to move if the kernel needs all of every tensor. Elements read twice are not counted twice, and those
   * that a mask, a window or a cache's lengths exclude are not left out.
   */
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Billions of these bytes a second. */
  readonly gbs: number | undefined;
  /**
   * Floating-point operations over all calls, for matrix products and for attention, forward and backward; undefined for
   * other kernels, which bytes bound. A multiply-add counts as two. Attention counts as its products over the pairs that the
   * band of `isCausal` and `window` leaves; what else hides keys is not left out.
   */
  readonly operations: number | undefined;
  /** Billions of these operations a second. */
  readonly gflops: number | undefined;
  /**
   * Share of the roofline that was reached: the longer of the times that the bytes and the operations take at the roof's
   * rates, over `gpuTime`. It can exceed 1, if tensors stay in a cache or tensor cores compute. Undefined without a roof.
   */
  readonly roofShare: number | undefined;
}

export interface Profile<T> {
  /** What `work` returned. */
  readonly value: T;
  /** Milliseconds on the GPU over all dispatches; undefined if the device has no timestamp queries. */
  readonly gpuTime: number | undefined;
  /** Each dispatch in order; none if the device has no timestamp queries. */
  readonly dispatches: readonly DispatchTime[];
  /** A row for each kernel, the longest first, or in order of the first call if the device has no timestamp queries. */
  readonly kernels: readonly KernelProfile[];
  /**
   * The profile as JSON in Chrome's Trace Event Format, for ui.perfetto.dev or chrome://tracing. The host's lane shows `work`, and
   * in it where ops recorded, pipelines were compiled and batches submitted, then the wait. The GPU's lane, which is missing
   * without timestamp queries, shows each dispatch. The clocks differ: the first dispatch is drawn where the first submit ended.
   */
  trace(): string;
}

export function checkProfileOptions(options: ProfileOptions): void {
  const op = 'device.profile';
  checkOptions(op, options, ['roof']);
  const { roof } = options;
  if (roof === undefined) return;
  for (const name of ['copyGBs', 'f32Gflops'] as const) {
    const rate: unknown = (roof as Partial<ProfileRoof> | null)?.[name];
    if (!(typeof rate === 'number' && rate > 0 && rate < Infinity)) {
      throw new ArgumentError(`${op}: roof.${name} must be a positive number, got ${String(rate)}`);
    }
  }
}

/** Bytes of the elements that each tensor has in memory. */
export function storedBytes(tensors: Readonly<Record<string, Tensor | undefined>>): Record<string, number | undefined> {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => [
      name,
      tensor?.shape.reduce(
        (bytes, length, axis) => (tensor.strides[axis] === 0 ? bytes : bytes * length),
        BYTES[tensor.dtype],
      ),
    ]),
  );
}
