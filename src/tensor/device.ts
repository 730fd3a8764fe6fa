import { openAdapter, type AdapterChoice, type FoundAdapter } from '#platform';
import { checkBudget, sizeClass, type MemoryUse, type StorageBuffer } from '../gpu/buffers.ts';
import { ArgumentError } from '../gpu/errors.ts';
import type { WebGPUBuffer, WebGPUDevice } from '../gpu/global-types.ts';
import { Pace } from '../gpu/pace.ts';
import type { CompileEvent } from '../gpu/pipelines.ts';
import {
  nextTurn,
  Runtime,
  type LabelledLaunch,
  type Launch,
  type PrepareOptions,
  type WaitOptions,
} from '../gpu/runtime.ts';
import { BufferUsage } from '../gpu/usage.ts';
import { adapterNames } from '../platform/adapter.ts';
import { callSite } from './call-site.ts';
import { BYTES, DTYPES, type DType, type DTypeKind, type FloatDType } from './dtype.ts';
import { encodeFloat16 } from './float16.ts';
import { groupAlike, type Allocation, type MemoryDetail } from './memory.ts';
import { checkOptions, checkWait, kindOf, refuseDeferred, WAIT_OPTIONS } from './options.ts';
import { checkProfileOptions, storedBytes, type Profile, type ProfileOptions } from './profile.ts';
import type { RandomNumbers, RandomProblem } from './random.ts';
import { checkShape, contiguousStrides, formatShape, rowPitch, sizeOf, storageSize, type Shape } from './shape.ts';
import { Storage, Tensor, type FirstContents, type FloatTensor, type Tape } from './tensor.ts';
import { tensorsIn } from './tensors-in.ts';
import type { KernelChoices, Traits } from './traits.ts';
import type { TunableOp, TuneOptions, TuneResult } from './tuning.ts';

export interface DeviceOptions {
  /**
   * `'hardware'`: a GPU or an error; `'software'`: a CPU driver (`'lavapipe'` or `'embedded'` name one). By default the
   * high-performance GPU, else a software driver, which a line on stderr announces once.
   */
  adapter?: AdapterChoice;
  /** A device that the caller made and keeps: `dispose()` leaves it alive. */
  gpuDevice?: WebGPUDevice;
  /** Maximum bytes of GPU memory for tensors. Beyond it ops throw OutOfMemoryError. Default 4 GiB on software, else no limit. */
  memoryBudget?: number;
  /**
   * Milliseconds that one dispatch, and one submission to the queue, should not exceed. Longer work is divided, by estimates from
   * its operations and the rate at which the device is seen to work, without a change to any result. Windows resets a
   * GPU that is busy for 2 s. `Infinity` divides nothing. Default 500.
   */
  maxDispatchTime?: number;
  /**
   * Ask for WebGPU features that are not standard yet: tensor cores (subgroup matrices), which ops then use for float16.
   * In Node this enables Dawn's unsafe features.
   */
  experimental?: boolean;
  /**
   * Pins the kernels of ops, by the names that `webgpu-attention info` and `tune` show: `{ flashAttention: 'tile-32x32' }`. If
   * the named kernel cannot compute a problem, the op chooses as it would without the option. A call of `flashAttention` with
   * `blockSize` takes a tile of that many keys. A gradient takes the kernel of `attentionGradient`. Where none is
   * pinned or tuned, it takes one of the family that its op is pinned to, if that family has any.
   */
  kernels?: Partial<Record<TunableOp, string>>;
  /**
   * Look for a defect or a leak, slowly: each dispatch is submitted by itself under its op's name, errors that the GPU finds name
   * the op and the line of your program that called it, and `memory({ detail: true })` says where each tensor was made.
   */
  debug?: boolean;
  /** Take the kernels that `tune()` found earlier on the same kind of device, and remember what it finds. Default true. */
  remembersTuning?: boolean;
  /** Called when a kernel begins to compile. What it throws ends the call that needs the kernel. */
  onCompile?: (event: CompileEvent) => void;
}

export interface DeviceInfo {
  /** Such as `nvidia`, `amd`, `intel` or `apple`; empty if it is not told. */
  readonly vendor: string;
  readonly architecture: string;
  /** The adapter's own name, such as `NVIDIA H100`. */
  readonly device: string;
  /** The driver's description of itself; wgpu, in Deno, has none. */
  readonly description: string;
  /** `'hardware'`, or the software driver's name. */
  readonly driver: string;
  /** Why this adapter was taken. */
  readonly reason: string;
  readonly isSoftware: boolean;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
  /** 0 if the driver does not report it. */
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
}

/** Limits that kernels can use: the adapter's are requested instead of WebGPU's defaults. */
const WANTED_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
  'maxStorageBuffersPerShaderStage',
] as const;

const WANTED_FEATURES: readonly GPUFeatureName[] = ['timestamp-query', 'shader-f16', 'subgroups'];

const SOFTWARE_BUDGET = 4 * 2 ** 30;

// TypeScript's own types for browsers do not know it
const SUBGROUP_SIZE_CONTROL = 'subgroup-size-control' as string as GPUFeatureName;
/** An experimental device takes those that the adapter has. Only kernels on tensor cores use the second. */
const EXPERIMENTAL_FEATURES = ['chromium-experimental-subgroup-matrix' as GPUFeatureName, SUBGROUP_SIZE_CONTROL];

/** Uploads of more bytes than this submit recorded work first if they can then reuse a buffer. */
const LARGE_UPLOAD = 16 * 1024;

const OPTIONS = [
  'adapter',
  'gpuDevice',
  'memoryBudget',
  'maxDispatchTime',
  'experimental',
  'kernels',
  'remembersTuning',
  'debug',
  'onCompile',
];

const MAX_DISPATCH_TIME = 500;

/** What a device holds of the tuner. */
export type Tuner = (device: Device, options: TuneOptions) => Promise<TuneResult>;

/** Plans the kernel that fills a tensor with random numbers. */
export type RandomPlan = (problem: RandomProblem, traits: Traits) => Launch;

/** What a float tensor is filled with: one number, or random numbers. */
export type Filling = number | RandomNumbers;

/** What a device holds of the rooms above it, whose files it cannot import. */
export interface Above {
  readonly tuner: Tuner;
  readonly tape: Tape;
  readonly planRandom: RandomPlan;
}

/** Opens a GPU for `createDevice`, which chooses the kernels. */
export async function openDevice(options: DeviceOptions, above: Above): Promise<Device> {
  checkOptions('createDevice', options, OPTIONS);
  const { adapter: choice, gpuDevice, memoryBudget, experimental = false, remembersTuning, debug = false } = options;
  const { maxDispatchTime = MAX_DISPATCH_TIME, onCompile } = options;
  if (!(typeof maxDispatchTime === 'number' && maxDispatchTime > 0)) {
    throw new ArgumentError(
      `createDevice: maxDispatchTime must be a positive number of milliseconds, got ${maxDispatchTime}`,
    );
  }
  if (memoryBudget !== undefined && !(typeof memoryBudget === 'number' && memoryBudget > 0)) {
    throw new ArgumentError(`createDevice: memoryBudget must be a positive number of bytes, got ${memoryBudget}`);
  }
  if (remembersTuning !== undefined && typeof remembersTuning !== 'boolean') {
    throw new ArgumentError(`createDevice: remembersTuning must be true or false, got ${String(remembersTuning)}`);
  }
  if (typeof debug !== 'boolean') {
    throw new ArgumentError(`createDevice: debug must be true or false, got ${String(debug)}`);
  }
  if (onCompile !== undefined && typeof onCompile !== 'function') {
    throw new ArgumentError(`createDevice: onCompile must be a function, got ${kindOf(onCompile)}`);
  }
  if (gpuDevice && (choice !== undefined || options.experimental !== undefined)) {
    throw new ArgumentError(
      `createDevice: gpuDevice must come without adapter and experimental, which choose a device, got both`,
    );
  }
  const make = (own: Pick<DeviceParts, 'gpu' | 'info' | 'ownsGpu' | 'patiently'>) => {
    const budget = memoryBudget ?? defaultBudget(own.info);
    const pace = paceOf(own.info, maxDispatchTime);
    return new Device({ ...own, ...above, debug, memoryBudget: budget, pace, onCompile });
  };
  if (gpuDevice) {
    if (typeof gpuDevice.createBuffer !== 'function') {
      throw new ArgumentError(`createDevice: gpuDevice must be a GPUDevice, got ${kindOf(gpuDevice)}`);
    }
    const info = describe(gpuDevice, gpuDevice.adapterInfo, 'given', 'the caller passed a GPUDevice', false);
    return make({ gpu: gpuDevice, info, ownsGpu: false });
  }
  const found = await openAdapter({ adapter: choice, experimental });
  const { adapter } = found;
  const requiredFeatures = WANTED_FEATURES.filter((feature) => adapter.features.has(feature));
  if (experimental) requiredFeatures.push(...EXPERIMENTAL_FEATURES.filter((feature) => adapter.features.has(feature)));
  const requiredLimits = Object.fromEntries(WANTED_LIMITS.map((name) => [name, adapter.limits[name]]));
  const gpu = await adapter.requestDevice({ requiredFeatures, requiredLimits });
  const info = describe(gpu, adapter.info, found.driver, found.reason, found.isSoftware);
  return make({ gpu, info, ownsGpu: true, patiently: found.patiently });
}

function defaultBudget({ isSoftware }: DeviceInfo): number {
  return isSoftware ? SOFTWARE_BUDGET : Infinity;
}

/**
 * Operations a second that kernels reach on devices of a class, on the low side: a rate that is too high would let a dispatch
 * run too long, and one that is too low would leave a large GPU with too few workgroups at a time. The runtime corrects it as
 * it waits for results.
 */
function rateOf({ isSoftware, vendor, subgroupMaxSize }: DeviceInfo): number {
  if (isSoftware) return subgroupMaxSize >= 8 ? 25e9 : 1e9; // on two cores lavapipe reached 55 GFLOP/s, SwiftShader 0.8 to 1.7
  if (vendor === 'nvidia' || vendor === 'amd') return 1e12;
  return vendor === 'apple' || vendor === 'intel' ? 200e9 : 50e9;
}

function paceOf(info: DeviceInfo, maxDispatchTime: number): Pace {
  return new Pace(rateOf(info), maxDispatchTime / 1000);
}

function describe(
  gpu: GPUDevice,
  adapter: GPUAdapterInfo | undefined,
  driver: string,
  reason: string,
  isSoftware: boolean,
): DeviceInfo {
  const limits: Record<string, number> = {};
  for (const name of WANTED_LIMITS) limits[name] = gpu.limits[name];
  return {
    ...adapterNames(adapter ?? {}),
    driver,
    reason,
    isSoftware: isSoftware || adapter?.isFallbackAdapter === true,
    features: [...gpu.features].sort(),
    limits,
    subgroupMinSize: adapter?.subgroupMinSize ?? 0,
    subgroupMaxSize: adapter?.subgroupMaxSize ?? 0,
  };
}

function traitsOf({ limits, features }: GPUDevice, info: DeviceInfo): Traits {
  const { subgroupMinSize: least, subgroupMaxSize: most } = info;
  const mayRequire = features.has('subgroups') && features.has(SUBGROUP_SIZE_CONTROL);
  return {
    maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    maxComputeWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
    maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
    isSoftware: info.isSoftware,
    vendor: info.vendor,
    subgroupSize: features.has('subgroups') && least === most ? least : 0,
    ...(mayRequire && least < most && least <= 32 && most >= 32 && { requiredSubgroupSize: 32 }),
  };
}

/** What `device.tensor` accepts; a Uint16Array holds raw float16 bits. */
export type TensorSource = readonly number[] | Float32Array | Uint8Array | Int32Array | Uint32Array | Uint16Array;

interface DeviceParts extends Above {
  readonly gpu: WebGPUDevice;
  readonly info: DeviceInfo;
  /** Whether `dispose()` destroys it. */
  readonly ownsGpu: boolean;
  readonly debug: boolean;
  readonly memoryBudget: number;
  readonly pace: Pace;
  readonly patiently?: FoundAdapter['patiently'];
  readonly onCompile?: (event: CompileEvent) => void;
}

/** Work whose launches are planned and not run, so that nothing of it may stay. */
interface Rehearsal {
  /** The tensors that it made. */
  readonly made: Set<Tensor>;
  /** For each object that it changed, what puts it back. */
  readonly restores: Map<object, () => void>;
  /** What it must not call. */
  refusal: ArgumentError | undefined;
}

/** Parameters of modules count from 0, so that no module draws the numbers of `randn` with its seed. */
const RANDN_STREAM = 2 ** 32 - 1;

/** A GPU with its memory and recorded work. It makes tensors, and waits for them. */
export class Device {
  readonly info: DeviceInfo;
  /** The WebGPU device, for your own code that shares buffers with tensors. */
  readonly gpu: WebGPUDevice;
  /** @internal The runtime below; for this library's ops. */
  readonly runtime: Runtime;
  /** @internal The device's traits that kernels are planned for. `createDevice` adds those that have to be tried out. */
  traits: Traits;
  /** @internal Records calls and computes gradients. */
  readonly tape: Tape;
  /** @internal Which kernels ops take. Ops only read it. */
  kernels: KernelChoices = { pinned: new Map(), tuned: new Map() };
  readonly #ownsGpu: boolean;
  readonly #callSite: (() => string) | undefined;
  readonly #allocations = new Map<Storage, Allocation>();
  readonly #tuner: Tuner;
  readonly #planRandom: RandomPlan;
  #isTuning = false;
  #seed = 0;
  readonly #scopes: Set<Tensor>[] = [];
  #rehearsal: Rehearsal | undefined;

  /** `createDevice` calls it. */
  constructor(parts: DeviceParts) {
    const { gpu, info, ownsGpu, tuner, tape, planRandom, debug, memoryBudget, pace, patiently, onCompile } = parts;
    this.info = info;
    this.gpu = gpu;
    this.#callSite = debug ? callSite : undefined;
    this.runtime = new Runtime(gpu, { memoryBudget, pace, patiently, callSite: this.#callSite, onCompile });
    this.traits = traitsOf(gpu, info);
    this.#ownsGpu = ownsGpu;
    this.#tuner = tuner;
    this.#planRandom = planRandom;
    this.tape = tape;
  }

  /**
   * A tensor from numbers on the host in row-major order. float32 and float16 take numbers or a Float32Array (float16
   * also its raw bits as a Uint16Array), bool a Uint8Array of zeros and ones, int32 and uint32 their typed arrays.
   * `requiresGrad` sets the tensor's property.
   *
   * @throws ArgumentError if the data does not fit the shape or dtype, or the tensor does not fit the device
   */
  tensor<Source extends TensorSource, D extends DType = DefaultDType<Source>>(
    data: Source,
    shape: Shape,
    options: { dtype?: D; requiresGrad?: boolean } = {},
  ): Tensor<DTypeKind<D>> {
    checkOptions('device.tensor', options, ['dtype', 'requiresGrad']);
    const dtype = options.dtype ?? defaultDType(data);
    const bytes = this.#checkFit('device.tensor', shape, dtype);
    // for a large buffer it is worth submitting first, so that one can be reused
    const buffer = bytes > LARGE_UPLOAD ? this.runtime.acquire(bytes) : this.runtime.acquireToWrite(bytes);
    const tensor = this.#over(buffer, shape, dtype);
    try {
      if (options.requiresGrad !== undefined) tensor.requiresGrad = options.requiresGrad;
      this.runtime.write(tensor.storage('device.tensor'), encode(data, shape, dtype));
    } catch (error) {
      tensor.dispose();
      throw error;
    }
    return tensor as Tensor<DTypeKind<D>>;
  }

  zeros<D extends DType = 'float32'>(
    shape: Shape,
    options: { dtype?: D; requiresGrad?: boolean } = {},
  ): Tensor<DTypeKind<D>> {
    checkOptions('device.zeros', options, ['dtype', 'requiresGrad']);
    const tensor = this.empty(shape, options.dtype ?? 'float32', 'device.zeros');
    try {
      if (options.requiresGrad !== undefined) tensor.requiresGrad = options.requiresGrad;
      this.runtime.clear(tensor.storage('device.zeros'));
    } catch (error) {
      tensor.dispose();
      throw error;
    }
    return tensor as Tensor<DTypeKind<D>>;
  }

  /**
   * Standard normal numbers, which the GPU draws. The same `seed` gives the same values on every device, bit for bit: only it and
   * an element's row-major index decide (Philox). Without one, each call takes the device's next seed, 0, 1, 2, …
   * (`device.seed`).
   */
  randn(shape: Shape, options: { seed?: number; dtype?: DType; requiresGrad?: boolean } = {}): FloatTensor {
    checkOptions('device.randn', options, ['seed', 'dtype', 'requiresGrad']);
    const { seed = this.nextSeed(), dtype = 'float32', requiresGrad } = options;
    if (!Number.isInteger(seed)) throw new ArgumentError(`device.randn: seed must be an integer, got ${seed}`);
    if (dtype !== 'float32' && dtype !== 'float16') {
      throw new ArgumentError(`device.randn: dtype must be float32 or float16, got ${dtype}`);
    }
    const numbers = { distribution: 'normal', scale: 1, seed, stream: RANDN_STREAM } as const;
    const tensor = this.filled(shape, dtype, 'device.randn', numbers);
    try {
      if (requiresGrad !== undefined) tensor.requiresGrad = requiresGrad;
      tensor.storage('device.randn'); // now, so that it is not part of what is timed or profiled next
    } catch (error) {
      tensor.dispose();
      throw error;
    }
    return tensor;
  }

  /**
   * A tensor over a buffer that the caller made on this device's `gpu`. The caller keeps the buffer, which is never freed or
   * recycled here. The elements are row-major from the buffer's start; float16 rows are padded to an even length.
   *
   * The buffer needs STORAGE and COPY_SRC usage, and at least the tensor's bytes rounded up to 16. Call `flush()`
   * before you write to it again: ops that read it may be recorded but not yet submitted.
   */
  wrap<D extends DType = 'float32'>(
    buffer: WebGPUBuffer,
    shape: Shape,
    options: { dtype?: D } = {},
  ): Tensor<DTypeKind<D>> {
    checkOptions('device.wrap', options, ['dtype']);
    const dtype = options.dtype ?? 'float32';
    const bytes = this.#checkFit('device.wrap', shape, dtype);
    if (typeof buffer?.usage !== 'number') {
      throw new ArgumentError(`device.wrap: buffer must be a GPUBuffer, got ${kindOf(buffer)}`);
    }
    if (buffer.size < bytes) {
      throw new ArgumentError(
        `device.wrap: buffer must have at least ${bytes} bytes for ${dtype} ${formatShape(shape)}, got ${buffer.size}`,
      );
    }
    const needed = BufferUsage.STORAGE | BufferUsage.COPY_SRC;
    if ((buffer.usage & needed) !== needed) {
      throw new ArgumentError(`device.wrap: buffer must have STORAGE and COPY_SRC usage, got ${buffer.usage}`);
    }
    const view = { shape, strides: contiguousStrides(shape, dtype), offset: 0 };
    const tensor: Tensor = new Tensor(this, new Storage(this.runtime.adopt(buffer, bytes)), dtype, view);
    return tensor as Tensor<DTypeKind<D>>;
  }

  /** @internal A tensor whose elements a kernel has yet to write. `axes` orders its memory, outermost axis first. */
  empty<D extends DType>(shape: Shape, dtype: D, caller: string, axes?: readonly number[]): Tensor<D> {
    checkShape(caller, shape);
    const order = axes ?? shape.map((_, axis) => axis);
    const stored = order.map((axis) => shape[axis]);
    const bytes = this.#checkFit(caller, stored, dtype);
    const dense = contiguousStrides(stored, dtype);
    const strides = shape.map((_, axis) => dense[order.indexOf(axis)]);
    return this.#over(this.runtime.acquire(bytes), shape, dtype, strides);
  }

  /**
   * @internal A tensor that is filled when it is first used. If it is overwritten as a whole before that, as by a state dict, it is
   * never filled.
   */
  filled(shape: Shape, dtype: FloatDType, caller: string, filling: Filling): FloatTensor {
    const bytes = this.#checkFit(caller, shape, dtype);
    const buffer = this.runtime.acquire(bytes);
    // it must not lead back to the tensor
    const write = () => {
      if (typeof filling !== 'number') {
        const launch = this.#planRandom({ op: caller, shape, dtype, ...filling }, this.traits);
        this.runtime.dispatch(launch, { output: buffer }, caller, { output: bytes });
      } else if (filling === 0) {
        this.runtime.clear(buffer);
      } else {
        if (this.runtime.isPlanning) return false;
        this.runtime.write(buffer, encode(new Float32Array(sizeOf(shape)).fill(filling), shape, dtype));
      }
      return !this.runtime.isPlanning;
    };
    const first = { size: storageSize(shape, dtype), write };
    return this.#over(buffer, shape, dtype, contiguousStrides(shape, dtype), first);
  }

  /**
   * @internal A few words from the host for a kernel to read, as uint32 [length or more], of which they are the first. Making
   * them never flushes recorded work, because each is in a buffer that no recorded work uses.
   */
  words(words: readonly number[] | Uint32Array<ArrayBuffer>, caller: string, length = words.length): Tensor<'uint32'> {
    const shape = [2 ** Math.ceil(Math.log2(Math.max(1, length)))]; // few sizes, so that buffers are reused
    const buffer = this.runtime.acquireToWrite(this.#checkFit(caller, shape, 'uint32'));
    const tensor = this.#over(buffer, shape, 'uint32');
    this.runtime.write(buffer, bytesOf(Uint32Array.from(words)));
    return tensor;
  }

  /**
   * @internal Refuses tensors that the device or the memory budget has no room for, before somebody computes what is to be in
   * them.
   */
  checkRoom(caller: string, shapes: readonly Shape[], dtype: DType): void {
    const sizes = shapes.map((shape) => this.#checkFit(caller, shape, dtype));
    const bytes = sizes.reduce((sum, size) => sum + Math.max(size, Math.min(sizeClass(size), this.largest)), 0);
    checkBudget(bytes, this.memory());
  }

  /** @internal Records a planned kernel on tensors, named as in the shader. An absent optional one is undefined. */
  dispatch(caller: string, launch: Launch, tensors: Readonly<Record<string, Tensor | undefined>>): void {
    const buffers = Object.fromEntries(
      Object.entries(tensors).map(([name, tensor]) => [name, tensor?.storage(caller)]),
    );
    this.runtime.dispatch(launch, buffers, caller, this.runtime.isProfiling ? storedBytes(tensors) : undefined);
  }

  /** Submits recorded work without waiting for it. */
  flush(): void {
    this.runtime.flush();
  }

  /**
   * Submits recorded work and waits for the GPU.
   *
   * @param options `signal` ends the wait, though not what was submitted; `onProgress` is called after each long submission
   * @throws ArgumentError if `signal` is no AbortSignal or `onProgress` no function
   * @throws the first GPU-side failure since the last wait
   * @throws the signal's reason if it is aborted, or what `onProgress` throws; failures are then left to the next wait
   */
  sync(options: WaitOptions = {}): Promise<void> {
    return this.heard(this.#sync(options));
  }

  async #sync(options: WaitOptions): Promise<void> {
    this.refuseRehearsal('device.sync');
    checkOptions('device.sync', options, WAIT_OPTIONS);
    checkWait('device.sync', options);
    await this.runtime.wait(options);
  }

  /**
   * Bytes of tensor memory: live, kept for reuse, and the largest live so far. `detail` adds what is live, by shape and dtype, and
   * on a device with `debug: true` by the line that made it.
   */
  memory(options?: { detail?: false }): MemoryUse;
  memory(options: { detail: true }): MemoryDetail;
  memory(options: { detail?: boolean } = {}): MemoryUse | MemoryDetail {
    checkOptions('device.memory', options, ['detail']);
    const use = this.runtime.memory();
    if (!options.detail) return use;
    const isFreed = use.live === 0; // by dispose(), though tensors may still be there
    return { ...use, tensors: isFreed ? [] : groupAlike(this.#allocations.values()) };
  }

  /**
   * Runs `work` and frees the tensors made inside, except those in what it returns: a tensor, or arrays, Maps, Sets and objects
   * of any class that lead to tensors, in any depth. It does not see into closures, private fields and promises, and calls no getters.
   *
   * @throws ArgumentError if `work` is async or a generator, or returns a Proxy of a tensor; all its tensors are freed then
   */
  scope<T>(work: () => T): T {
    const made = new Set<Tensor>();
    this.#scopes.push(made);
    let result: T;
    let kept: Iterable<Tensor>;
    try {
      result = refuseDeferred('device.scope', work());
      kept = made.size > 0 ? tensorsIn('device.scope', result) : [];
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    } finally {
      this.#scopes.pop();
    }
    for (const tensor of kept) {
      if (made.delete(tensor)) this.track(tensor); // the enclosing scope has it now
    }
    for (const tensor of made) tensor.dispose();
    return result;
  }

  /**
   * Runs `work`, which calls ops and must not be async. Waits, and returns the calls, the GPU time and the bytes of each
   * kernel, and a trace of host and GPU. GPU times exclude compilation, which the trace shows on the host: to see none of it,
   * run `work` once before.
   *
   * @throws ArgumentError if a number of `roof` is not positive, or if `work` is async or calls `profile` itself
   */
  profile<T>(work: () => T, options: ProfileOptions = {}): Promise<Profile<T>> {
    const profile = this.heard(this.#profile(work, options));
    if (this.runtime.isProfiling) profile.catch(() => undefined); // the profile around it is rejected too
    return profile;
  }

  /**
   * Compiles all kernels that `work` needs, at the same time and without blocking this thread, so that its first real call finds
   * them. `work` is a function that calls ops, such as `() => model.forward(x)` or a whole training step, or a list of such
   * functions. It runs at once, but its kernels do not, and nothing of it stays: its tensors are freed, caches, gradients,
   * optimisers and `seed` are as before, and what it disposes lives on. Modes that it sets (`train`, `eval`) and the peak of
   * `memory()` stay. It must not read results.
   *
   * @param options `onProgress` is called when compilation begins and after each kernel, and not at all if every kernel is there;
   *   `signal` ends the wait, though not what is being compiled
   * @throws ArgumentError if `work` is async, or calls `data`, `buffer`, `sync`, `profile`, `tune` or `prepare`
   * @throws what `work` throws
   * @throws ShaderError for a kernel or modifier that does not compile, once all others are there
   * @throws the first GPU-side failure since the last wait
   */
  prepare(work: (() => unknown) | readonly (() => unknown)[], options: PrepareOptions = {}): Promise<void> {
    return this.heard(this.#prepare(work, options));
  }

  async #prepare(work: (() => unknown) | readonly (() => unknown)[], options: PrepareOptions): Promise<void> {
    const call = 'device.prepare';
    this.refuseRehearsal(call);
    checkOptions(call, options, WAIT_OPTIONS);
    checkWait(call, options);
    const works: readonly unknown[] = Array.isArray(work) ? work : [work];
    const wrong = works.find((item) => typeof item !== 'function');
    if (wrong !== undefined || works.length === 0) {
      throw new ArgumentError(`${call}: work must be a function or a list of functions, got ${kindOf(wrong ?? work)}`);
    }
    options.signal?.throwIfAborted();
    const launches: LabelledLaunch[] = [];
    for (const item of works as (() => unknown)[]) {
      if (item !== works[0]) await nextTurn(); // each may plan for a while
      options.signal?.throwIfAborted();
      launches.push(...this.#rehearse(call, item));
    }
    await this.runtime.prepare(launches, options);
  }

  #rehearse(call: string, work: () => unknown): LabelledLaunch[] {
    this.assertUsable();
    const rehearsal: Rehearsal = { made: new Set(), restores: new Map(), refusal: undefined };
    const seed = this.#seed;
    this.#rehearsal = rehearsal;
    try {
      return this.runtime.launchesOf(() => {
        refuseDeferred(call, work());
        if (rehearsal.refusal) throw rehearsal.refusal;
      });
    } finally {
      for (const restore of [...rehearsal.restores.values()].reverse()) restore();
      this.#rehearsal = undefined;
      this.#seed = seed;
      for (const tensor of rehearsal.made) tensor.dispose();
    }
  }

  /** @internal `save` is called before an object first changes within `prepare`. What it returns puts the object back. */
  beforeChange(changed: object, save: () => () => void): void {
    const { restores } = this.#rehearsal ?? {};
    if (restores?.has(changed) === false) restores.set(changed, save());
  }

  /** @internal Refuses a call within `prepare`, which fails with it, even if nobody hears the call's own error. */
  refuseRehearsal(call: string): void {
    if (!this.#rehearsal) return;
    throw (this.#rehearsal.refusal ??= new ArgumentError(
      `device.prepare: work must not call ${call}, because nothing is computed yet`,
    ));
  }

  /** @internal Within `prepare`, a rejection is heard: `prepare` is rejected too. */
  heard<T>(result: Promise<T>): Promise<T> {
    if (this.#rehearsal) result.catch(() => undefined);
    return result;
  }

  /** @internal Whether `prepare` is under way, and the tensor was there before. It then stays. */
  outlivesRehearsal(tensor: Tensor): boolean {
    return this.#rehearsal?.made.has(tensor) === false;
  }

  async #profile<T>(work: () => T, options: ProfileOptions): Promise<Profile<T>> {
    this.refuseRehearsal('device.profile');
    checkProfileOptions(options);
    const { value, profiled } = await this.runtime.profile(() => refuseDeferred('device.profile', work()));
    const { profileOf } = await import('./summarise-profile.ts');
    return profileOf(value, profiled, this.name, options);
  }

  /**
   * Measures which kernel is the fastest for each op, dtype and class of sizes. Ops take it from then on, on this device
   * and on later ones of the same adapter, driver and version of this package. A kernel is taken only if its result agrees
   * with the default's and it is at least 5 % faster. What was measured before is not measured again.
   *
   * Compiles and runs every kernel, for about `timeBudget` at most. Run nothing else on the device meanwhile: it would distort
   * the times, and its errors could be taken for a kernel's failure.
   *
   * @throws ArgumentError for unknown options, and while an earlier call is running
   * @throws the error of a default kernel that fails, unless it ran out of memory
   * @throws DeviceLostError if the device is lost or disposed meanwhile
   */
  tune(options: TuneOptions = {}): Promise<TuneResult> {
    return this.heard(this.#tune(options));
  }

  async #tune(options: TuneOptions): Promise<TuneResult> {
    this.refuseRehearsal('device.tune');
    if (this.#isTuning) throw new ArgumentError('device.tune: an earlier call must have ended, but is still running');
    this.#isTuning = true;
    try {
      return await this.#tuner(this, options);
    } finally {
      this.#isTuning = false;
    }
  }

  /**
   * Frees everything, so that the process can exit by itself. Waits under way are rejected soon afterwards. Calling it again
   * does nothing.
   */
  dispose(): void {
    this.runtime.dispose(this.#ownsGpu);
  }

  /**
   * Ends the device in order. Ops and new waits throw DeviceLostError from now on. Waits under way (`data()`, `sync()`,
   * `profile()`) get their results or errors. Then everything is freed, as `dispose()` does. Once it resolves, nothing of the
   * device is pending, and its worker thread may end at any moment. It never rejects, and calling it again returns the same
   * promise.
   */
  close(): Promise<void> {
    return this.runtime.close(this.#ownsGpu);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The GPU's name, or a software driver's; where a browser tells neither, its maker's. What is known besides is in `info`. */
  get name(): string {
    const { device, description, vendor, architecture, driver, isSoftware } = this.info;
    if (isSoftware && driver !== 'given') return driver;
    return device || [vendor, architecture].filter(Boolean).join(' ') || description || driver;
  }

  /** The GPU's name, what the driver says of itself, and whether the device has ended. */
  toString(): string {
    if (!(#seed in this)) return 'Device';
    const { description, isSoftware } = this.info;
    return `Device(${[this.name, description, isSoftware && 'on the CPU', this.runtime.ended].filter(Boolean).join(', ')})`;
  }

  /** What consoles of Node, Bun and Deno print, instead of the runtime and everything inside it. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  /** @internal */
  assertUsable(): void {
    this.runtime.assertUsable();
  }

  /** @internal Notes a new tensor in the innermost scope; called by Tensor. */
  track(tensor: Tensor): void {
    this.#rehearsal?.made.add(tensor);
    this.#scopes.at(-1)?.add(tensor);
  }

  /**
   * The seed that the next call without one takes: 0 on a new device, and one more after each such call. `randn`, `dropout`,
   * the `dropoutP` of attention, `sample` and the initial weights of modules take it. Save it with a training run and assign
   * it when the run goes on, so that the same elements are dropped as without the interruption. A whole number from 0 to
   * 2^53 − 1, after which 0 follows.
   *
   * @throws ArgumentError when anything else is assigned
   */
  get seed(): number {
    return this.#seed;
  }

  set seed(seed: number) {
    if (!(Number.isSafeInteger(seed) && seed >= 0)) {
      const got = typeof seed === 'number' ? seed : kindOf(seed);
      throw new ArgumentError(`device.seed: seed must be a whole number from 0 to 2^53 - 1, got ${got}`);
    }
    this.#seed = seed;
  }

  /** @internal Takes the device's seed, and moves it on. */
  nextSeed(): number {
    const seed = this.#seed;
    this.#seed = seed === Number.MAX_SAFE_INTEGER ? 0 : seed + 1;
    return seed;
  }

  /** @internal Takes a tensor out of its scope, for an owner that outlives it; called by modules. */
  keep(tensor: Tensor): void {
    for (const scope of this.#scopes) scope.delete(tensor);
  }

  /** A tensor that owns a buffer of the pool. */
  #over<D extends DType>(
    buffer: StorageBuffer,
    shape: Shape,
    dtype: D,
    strides = contiguousStrides(shape, dtype),
    first?: FirstContents,
  ): Tensor<D> {
    const free = (): void => {
      this.#allocations.delete(storage);
      this.runtime.release(buffer);
    };
    const storage: Storage = new Storage(buffer, free, first);
    const tensor = new Tensor(this, storage, dtype, { shape, strides, offset: 0 });
    this.#allocations.set(storage, {
      shape: tensor.shape,
      dtype,
      bytes: buffer.bytes,
      ...(this.#callSite && { madeAt: this.#callSite() }),
    });
    return tensor;
  }

  /** @internal Bytes of the largest tensor. */
  get largest(): number {
    const { maxStorageBufferBindingSize, maxBufferSize } = this.runtime.limits;
    return Math.min(maxStorageBufferBindingSize, maxBufferSize);
  }

  /** Bytes of the tensor's storage, rounded up to the 16 that kernels read at once. */
  #checkFit(caller: string, shape: Shape, dtype: DType): number {
    this.runtime.assertUsable();
    checkShape(caller, shape);
    if (!DTYPES.includes(dtype)) {
      throw new ArgumentError(`${caller}: dtype must be one of ${DTYPES.join(', ')}, got ${String(dtype)}`);
    }
    const bytes = Math.ceil((storageSize(shape, dtype) * BYTES[dtype]) / 16) * 16;
    if (bytes > this.largest) {
      throw new ArgumentError(
        `${caller}: a ${dtype} tensor of shape ${formatShape(shape)} must fit the device's limit of ${this.largest} bytes ` +
          `a buffer (maxStorageBufferBindingSize), got ${bytes} bytes`,
      );
    }
    return bytes;
  }
}

/** The twin in types of `defaultDType`. */
type DefaultDType<Source extends TensorSource> = Source extends Uint8Array
  ? 'bool'
  : Source extends Int32Array
    ? 'int32'
    : Source extends Uint32Array
      ? 'uint32'
      : FloatDType;

function defaultDType(data: TensorSource): DType {
  if (data instanceof Uint8Array) return 'bool';
  if (data instanceof Int32Array) return 'int32';
  if (data instanceof Uint32Array) return 'uint32';
  if (data instanceof Uint16Array) return 'float16';
  return 'float32';
}

function areNumbers(data: TensorSource): boolean {
  return Array.isArray(data) && data.every((item) => typeof item === 'number');
}

const SOURCES: Readonly<Record<DType, { accepts: (data: TensorSource) => boolean; names: string }>> = {
  float32: {
    accepts: (data) => data instanceof Float32Array || areNumbers(data),
    names: 'a Float32Array or numbers',
  },
  float16: {
    accepts: (data) => data instanceof Float32Array || data instanceof Uint16Array || areNumbers(data),
    names: 'a Float32Array, numbers, or a Uint16Array of float16 bits',
  },
  bool: { accepts: (data) => data instanceof Uint8Array, names: 'a Uint8Array' },
  int32: { accepts: (data) => data instanceof Int32Array, names: 'an Int32Array' },
  uint32: { accepts: (data) => data instanceof Uint32Array, names: 'a Uint32Array' },
};

function encode(data: TensorSource, shape: Shape, dtype: DType): Uint8Array<ArrayBuffer> {
  if (!SOURCES[dtype].accepts(data)) {
    throw new ArgumentError(`device.tensor: data for ${dtype} must be ${SOURCES[dtype].names}, got ${kindOf(data)}`);
  }
  if (data.length !== sizeOf(shape)) {
    throw new ArgumentError(
      `device.tensor: data must have ${sizeOf(shape)} elements for shape ${formatShape(shape)}, got ${data.length}`,
    );
  }
  if (dtype === 'float16') {
    const bits = data instanceof Uint16Array ? data : encodeFloat16(data);
    return bytesOf(padRows(bits, shape.at(-1)!));
  }
  return bytesOf(Array.isArray(data) ? Float32Array.from(data) : (data as Exclude<TensorSource, readonly number[]>));
}

function padRows(bits: Uint16Array, length: number): Uint16Array {
  const pitch = rowPitch(length, 'float16');
  if (pitch === length) return bits;
  const padded = new Uint16Array((bits.length / length) * pitch);
  for (let row = 0; row * length < bits.length; row++) {
    padded.set(bits.subarray(row * length, (row + 1) * length), row * pitch);
  }
  return padded;
}

/** The array's bytes, copied if they are in shared memory, which WebGPU does not accept. */
function bytesOf(data: Exclude<TensorSource, readonly number[]>): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
}
