/**
 * The GPU runtime: records dispatches, submits them in batches, reads back. Knows nothing of attention.
 *
 * Recorded work is plain data until `flush()`, the one place that talks to a command encoder. Uniforms of a batch are
 * packed into slots of one buffer and written once, just before the submit: `queue.writeBuffer` overtakes recorded
 * work, so each slot is used once a batch.
 */
import { BufferPool, FREEING, sizeClass, STORAGE_USAGE, type MemoryUse, type StorageBuffer } from './buffers.ts';
import { abortable } from './abort.ts';
import { divide } from './divide.ts';
import {
  ArgumentError,
  DeviceLostError,
  OutOfMemoryError,
  ShaderError,
  ValidationError,
  WebGPUAttentionError,
} from './errors.ts';
import type { Signal } from './global-types.ts';
import type { Mark, Pace, WorkProgress } from './pace.ts';
import { PipelineCache, type CompileEvent, type Pipeline } from './pipelines.ts';
import { Profiler, type DispatchFacts, type Profiled } from './profiler.ts';
import { packUniform, type UniformValues } from './uniform.ts';
import type { Constants, Insertion, Shader } from './shader.ts';
import { BufferUsage, MAP_MODE_READ } from './usage.ts';

/** What a kernel's plan decides, as plain data. */
export interface Launch {
  readonly shader: Shader;
  readonly constants: Constants;
  /** Functions that replace those that the shader marks as replaceable. */
  readonly insertions?: readonly Insertion[];
  /** Fields of the shader's uniform struct by name. A struct within it is an object of its own. */
  readonly params: UniformValues;
  readonly workgroups: readonly [number, number, number];
  /**
   * Floating-point operations of all workgroups together; absent where bytes bound the kernel. A multiply-add counts as two.
   * Profiles show them, and a launch that says them may be divided: its shader begins at the workgroup `params.first_group` and
   * ends before `params.end_group`.
   */
  readonly operations?: number;
  /** Whether there may be far fewer operations, because lengths or blocks leave work out. */
  readonly isUpperBound?: boolean;
}

/** A launch under its name in timings and error messages. */
export interface LabelledLaunch extends Launch {
  readonly label: string;
}

/** Buffers by the name of the WGSL variable; an optional input that is absent gets a small placeholder. */
export type Bindings = Readonly<Record<string, StorageBuffer | undefined>>;

interface RecordedDispatch {
  readonly kind: 'dispatch';
  readonly label: string;
  readonly pipeline: Pipeline;
  readonly bindGroup: GPUBindGroup;
  readonly uniformOffset: number;
  readonly workgroups: readonly [number, number, number];
  /** For the profiler; absent if there was none when it was recorded. */
  readonly facts?: DispatchFacts & { readonly recorded: number };
}

type Recorded =
  | RecordedDispatch
  | { readonly kind: 'clear'; readonly target: GPUBuffer; readonly bytes: number }
  | {
      readonly kind: 'read';
      readonly source: GPUBuffer;
      readonly offset: number;
      readonly target: GPUBuffer;
      readonly bytes: number;
    };

const NESTED = 'device.profile: work must not call device.profile itself';
const UNIFORM_SLOT = 256;
const MAX_BATCH = 256;
const MAX_BIND_GROUPS = 4096;
const PLACEHOLDER_BYTES = 256;
/** Bytes of buffers for reading back that are kept for reuse. They are host memory outside the budget. */
const MAX_STAGING = 64 * 2 ** 20;
/** A submission is long, and its end is progress, if it has more than this share of the most operations. */
const LONG_SHARE = 0.1;

/** Counts of work done so far. Tests and benchmarks compare them. */
export interface Counters {
  readonly submits: number;
  readonly dispatches: number;
  readonly pipelines: number;
  readonly buffers: number;
}

/** The device's limits that allocation depends on, as plain data, because the getters of WebGPU's object are slow. */
export interface RuntimeLimits {
  readonly maxBufferSize: number;
  readonly maxStorageBufferBindingSize: number;
  readonly maxComputeWorkgroupsPerDimension: number;
}

/** How a wait may be watched, and ended. */
export interface WaitOptions {
  /** Ends the wait: it rejects with the signal's reason. What was submitted goes on, because WebGPU cannot take it back. */
  signal?: Signal;
  /** Called when a long submission has ended. What it throws ends the wait, which rejects with it. */
  onProgress?: (progress: WaitProgress) => void;
}

export type WaitProgress = WorkProgress;

/** How many pipelines are compiled, of those that were not there yet. */
export interface PrepareProgress {
  readonly done: number;
  readonly total: number;
}

export interface PrepareOptions {
  /** Ends the wait: it rejects with the signal's reason. What is being compiled goes on, because WebGPU cannot take it back. */
  signal?: Signal;
  /** Called when compilation begins, and after each pipeline. What it throws ends the wait, which rejects with it. */
  onProgress?: (progress: PrepareProgress) => void;
}

type Patience = <T>(result: Promise<T>) => Promise<T>;

export interface RuntimeOptions {
  /** Bytes. */
  readonly memoryBudget: number;
  readonly pace: Pace;
  readonly patiently?: Patience;
  readonly callSite?: () => string;
  readonly onCompile?: (event: CompileEvent) => void;
}

/** Milliseconds after which work on the host makes way for other work of its thread. */
const SLICE = 8;

export class Runtime {
  readonly gpu: GPUDevice;
  readonly limits: RuntimeLimits;
  readonly #patiently: Patience;
  readonly #pace: Pace;
  readonly #pool: BufferPool;
  readonly #pipelines: PipelineCache;
  readonly #bindGroups = new Map<string, GPUBindGroup>();
  readonly #placeholders = new Map<string, StorageBuffer>();
  /** A grid without workgroups. */
  #nothing: GPUBuffer | undefined;
  readonly #uniforms: GPUBuffer;
  readonly #uniformBytes = new DataView(new ArrayBuffer(UNIFORM_SLOT * MAX_BATCH));
  readonly #staging = new Map<number, GPUBuffer[]>();
  #stagingBytes = 0;
  #recorded: Recorded[] = [];
  #recordedOperations = 0;
  #recordedIsExact = true;
  readonly #watchers = new Set<(progress: WaitProgress) => void>();
  /** Pipelines when the host last waited. */
  #knownPipelines = 0;
  #uniformEnd = 0;
  #batch = 0;
  #failures = new Set<Promise<Error | undefined>>();
  #lost: DeviceLostError | undefined;
  /** Waits under way. */
  readonly #waits = new Set<Promise<unknown>>();
  /** Set as soon as closing begins. */
  #closed: DeviceLostError | undefined;
  #closing: Promise<void> | undefined;
  #disposed = false;
  #profiler: Profiler | undefined;
  /** The refusal of a profile within the work of another, which fails with it. */
  #nested: ArgumentError | undefined;
  readonly #callSite: (() => string) | undefined;
  /** The dispatch that is being recorded, when debugging. */
  #recording: string | undefined;
  #launches: LabelledLaunch[] | undefined;
  #submits = 0;
  #dispatches = 0;
  #buffers = 0;

  /**
   * `patiently` waits for a promise of the GPU without keeping a core busy, on drivers that run on the CPU. `callSite` says where
   * the library was called: with it each dispatch is submitted by itself, and errors name the dispatch and the place.
   */
  constructor(gpu: GPUDevice, options: RuntimeOptions) {
    const { memoryBudget, pace, patiently = (result) => result, callSite, onCompile } = options;
    this.gpu = gpu;
    this.#pace = pace;
    this.#callSite = callSite;
    this.#patiently = patiently;
    const { maxBufferSize, maxStorageBufferBindingSize, maxComputeWorkgroupsPerDimension } = gpu.limits;
    this.limits = { maxBufferSize, maxStorageBufferBindingSize, maxComputeWorkgroupsPerDimension };
    this.#pool = new BufferPool(
      (bytes, onFailure) => this.#createBuffer(bytes, STORAGE_USAGE, onFailure),
      () => {
        this.flush();
        this.#bindGroups.clear();
      },
      { budget: memoryBudget, largest: Math.floor(Math.min(maxBufferSize, maxStorageBufferBindingSize) / 16) * 16 },
    );
    this.#pipelines = new PipelineCache(
      gpu,
      (work, explain, onFailure) => this.#guarded(work, (message) => new ShaderError(explain(message)), onFailure),
      onCompile,
    );
    this.#uniforms = gpu.createBuffer({
      label: 'uniforms',
      size: UNIFORM_SLOT * MAX_BATCH,
      usage: BufferUsage.UNIFORM | BufferUsage.COPY_DST,
    });
    void gpu.lost.then((info) => {
      this.#lost ??= new DeviceLostError(`device: the GPU device was lost: ${info.message || info.reason}`);
    });
  }

  /**
   * Records one dispatch, or several of a long launch. `label` names it in timings and error messages. `bytes` are those of the
   * bindings that count in a profile, by name; by default whole buffers.
   */
  dispatch(
    launch: Launch,
    bindings: Bindings,
    label = launch.shader.name,
    bytes?: Readonly<Record<string, number | undefined>>,
  ): void {
    this.assertUsable();
    if (this.#launches) return void this.#launches.push({ ...launch, label });
    const pieces = divide(launch, this.#pace.most, this.limits.maxComputeWorkgroupsPerDimension);
    if (this.#callSite) this.flush();
    this.#recording = label;
    try {
      for (const piece of pieces) this.#record(piece, bindings, label, bytes, pieces.length);
      if (this.#callSite) this.flush();
    } finally {
      this.#recording = undefined;
    }
  }

  /** `pieces`: how many dispatches share the bytes. */
  #record(
    launch: Launch,
    bindings: Bindings,
    label: string,
    bytes: Readonly<Record<string, number | undefined>> | undefined,
    pieces: number,
  ): void {
    const { shader, params, workgroups, operations = 0 } = launch;
    const recorded = this.#profiler?.begin('record', label);
    if (this.#recordedOperations + operations > this.#pace.most) this.flush();
    const pipeline = this.#pipeline(launch, label);
    const { uniform } = pipeline.layout;
    const slot = Math.ceil((uniform?.size ?? 0) / UNIFORM_SLOT) * UNIFORM_SLOT;
    if (this.#recorded.length >= MAX_BATCH || this.#uniformEnd + slot > this.#uniformBytes.byteLength) this.flush();
    const uniformOffset = this.#uniformEnd;
    if (uniform) packUniform(shader.name, uniform.fields, params, this.#uniformBytes, uniformOffset);
    this.#uniformEnd += slot;
    const bindGroup = this.#bindGroup(pipeline, bindings);
    this.#recorded.push({
      kind: 'dispatch',
      label,
      pipeline,
      bindGroup,
      uniformOffset,
      workgroups,
      ...(this.#profiler && { facts: this.#profiler.note(factsOf(launch, label, pipeline, bindings, bytes, pieces)) }),
    });
    this.#recordedOperations += operations;
    if (launch.isUpperBound) this.#recordedIsExact = false;
    this.#dispatches++;
    recorded?.();
  }

  #pipeline({ shader, constants, insertions }: Launch, label: string): Pipeline {
    const before = this.#pipelines.size;
    const compiled = this.#profiler?.begin('compile', shader.name);
    const pipeline = this.#pipelines.get(shader, constants, insertions, label);
    if (this.#pipelines.size > before) compiled?.();
    return pipeline;
  }

  /** Whether what is recorded is profiled. */
  get isProfiling(): boolean {
    return this.#profiler !== undefined;
  }

  /** Whether launches are only planned. Then nothing runs, and nothing is written. */
  get isPlanning(): boolean {
    return this.#launches !== undefined;
  }

  /** The dispatches that `work` would make. Nothing is compiled and no kernel runs, so results have undefined contents. */
  launchesOf(work: () => void): LabelledLaunch[] {
    const launches: LabelledLaunch[] = [];
    this.#launches = launches;
    try {
      work();
    } finally {
      this.#launches = undefined;
    }
    return launches;
  }

  /**
   * Makes the pipelines of launches without blocking, all at once, and runs each for no workgroup, because some drivers compile
   * only then.
   *
   * @throws the first ShaderError in the order of the launches, once all others are there
   */
  async prepare(launches: readonly LabelledLaunch[], { signal, onProgress }: PrepareOptions = {}): Promise<void> {
    const stop = new AbortController();
    const isOver = () => stop.signal.aborted || signal?.aborted === true;
    const tell = (progress: PrepareProgress) => {
      if (isOver()) return;
      try {
        onProgress?.(progress);
      } catch (error) {
        stop.abort(error);
      }
    };
    await abortable(
      this.#underWay(() => this.#prepare(launches, tell, isOver), { signal }),
      stop.signal,
    );
  }

  async #prepare(
    launches: readonly LabelledLaunch[],
    tell: (progress: PrepareProgress) => void,
    isOver: () => boolean,
  ): Promise<void> {
    const missing = this.#pipelines.missing(launches);
    const total = missing.length;
    let done = 0;
    if (total > 0) tell({ done, total });
    const coming: Promise<void>[] = [];
    let began = performance.now();
    for (const { shader, constants, insertions, label } of missing) {
      if (performance.now() - began > SLICE) {
        await nextTurn();
        began = performance.now();
      }
      if (isOver() || this.#lost) break;
      const pipeline = this.#pipelines.prepare(shader, constants, insertions, label);
      const ready = this.#ready(pipeline).then(() => tell({ done: ++done, total }));
      ready.catch(() => undefined); // it is heard below, and may fail before that
      coming.push(ready);
    }
    const results = await this.#patiently(Promise.allSettled(coming));
    const failure = results.find(({ status }) => status === 'rejected');
    if (failure && !isOver()) throw (failure as PromiseRejectedResult).reason;
  }

  /** Waits for a pipeline, and runs it for no workgroup. */
  async #ready(coming: Promise<Pipeline> | undefined): Promise<void> {
    const pipeline = await coming;
    if (!pipeline || pipeline.hasRun || this.#lost) return;
    pipeline.hasRun = true;
    const bindGroup = this.#bindGroup(pipeline, {});
    this.#guarded(
      () => {
        const encoder = this.gpu.createCommandEncoder();
        this.#runEmpty(encoder, pipeline, bindGroup, 0);
        this.gpu.queue.submit([encoder.finish()]);
      },
      (message) => new ValidationError(`${pipeline.name}: ${message}`),
    );
    await this.gpu.queue.onSubmittedWorkDone();
  }

  /** Runs pipelines that never ran, so that a driver that compiles late does so before the dispatches. */
  #runFirst(encoder: GPUCommandEncoder, recorded: readonly Recorded[]): void {
    for (const command of recorded) {
      if (command.kind !== 'dispatch' || command.pipeline.hasRun) continue;
      command.pipeline.hasRun = true;
      this.#runEmpty(encoder, command.pipeline, command.bindGroup, command.uniformOffset);
    }
  }

  /**
   * Runs a pipeline for no workgroup: llvmpipe compiles when a kernel runs for the first time. A direct dispatch of no workgroups
   * makes Dawn warn.
   */
  #runEmpty(encoder: GPUCommandEncoder, pipeline: Pipeline, bindGroup: GPUBindGroup, uniformOffset: number): void {
    this.#nothing ??= this.gpu.createBuffer({ size: 12, usage: BufferUsage.INDIRECT });
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline.gpu);
    pass.setBindGroup(0, bindGroup, offsetsOf({ pipeline, uniformOffset }));
    pass.dispatchWorkgroupsIndirect(this.#nothing, 0);
    pass.end();
  }

  /** Records filling a buffer with zero bytes. */
  clear(buffer: StorageBuffer): void {
    this.assertUsable();
    if (this.isPlanning) return;
    if (this.#recorded.length >= MAX_BATCH) this.flush();
    buffer.lastBatch = this.#batch;
    this.#recorded.push({ kind: 'clear', target: buffer.gpu, bytes: buffer.bytes });
    if (this.#callSite) this.flush(); // or the next dispatch would be blamed for it
  }

  /** Writes from the host; ordered after everything recorded before. */
  write(buffer: StorageBuffer, data: Uint8Array<ArrayBuffer>): void {
    this.assertUsable();
    if (this.isPlanning) return;
    if (buffer.lastBatch === this.#batch) this.flush();
    const whole = data.byteLength - (data.byteLength % 4);
    if (whole > 0) this.gpu.queue.writeBuffer(buffer.gpu, 0, data, 0, whole);
    if (whole < data.byteLength) {
      const tail = new Uint8Array(4);
      tail.set(data.subarray(whole));
      this.gpu.queue.writeBuffer(buffer.gpu, whole, tail);
    }
  }

  /** Submits what was recorded. */
  flush(): void {
    if (this.#recorded.length === 0 || this.#lost) return;
    const operations = this.#recordedOperations;
    const recorded = this.#recorded;
    const profiler = this.#profiler;
    const submitted = profiler?.begin('submit', 'submit');
    const uniformEnd = this.#uniformEnd;
    this.#pace.submitted(operations, performance.now() / 1000, this.#recordedIsExact);
    this.#recordedIsExact = true;
    this.#recorded = [];
    this.#recordedOperations = 0;
    this.#uniformEnd = 0;
    this.#batch++;
    this.#submits++;
    this.#guarded(
      () => {
        if (uniformEnd > 0) {
          this.gpu.queue.writeBuffer(this.#uniforms, 0, this.#uniformBytes.buffer, 0, uniformEnd);
        }
        const encoder = this.gpu.createCommandEncoder();
        if (profiler) this.#runFirst(encoder, recorded);
        let pass: GPUComputePassEncoder | undefined;
        for (const command of recorded) {
          if (command.kind === 'dispatch') {
            const { pipeline, bindGroup } = command;
            const offsets = offsetsOf(command);
            pipeline.hasRun = true;
            pass ??= encoder.beginComputePass({
              ...(command.facts && profiler?.pass(command.facts)),
              ...(this.#callSite && { label: command.label }),
            });
            pass.setPipeline(pipeline.gpu);
            pass.setBindGroup(0, bindGroup, offsets);
            pass.dispatchWorkgroups(...command.workgroups);
            if (!profiler) continue;
          }
          pass?.end();
          pass = undefined;
          if (command.kind === 'clear') encoder.clearBuffer(command.target, 0, command.bytes);
          if (command.kind === 'read') {
            encoder.copyBufferToBuffer(command.source, command.offset, command.target, 0, command.bytes);
          }
        }
        pass?.end();
        profiler?.resolve(encoder);
        this.gpu.queue.submit([encoder.finish()]);
        profiler?.collect();
      },
      (message) => new ValidationError(`device: recorded work was rejected: ${message}`),
    );
    submitted?.();
    if (operations > LONG_SHARE * this.#pace.most) this.#watchSubmission();
  }

  /** Tells the watchers when what has been submitted so far has ended. */
  #watchSubmission(): void {
    const { mark } = this.#pace;
    const tell = () => this.#noteEnd(mark);
    void this.#noteUnderWay(this.#patiently(this.gpu.queue.onSubmittedWorkDone()).then(tell, () => undefined));
  }

  #noteEnd(mark: Mark): void {
    const isNew = this.#pace.ended(mark, performance.now() / 1000, this.#pipelines.size === this.#knownPipelines);
    this.#knownPipelines = this.#pipelines.size;
    if (isNew) for (const watcher of this.#watchers) watcher(this.#pace.progress);
  }

  /** Submits, waits for the GPU, and rejects with the first failure since the last wait. */
  async wait(options: WaitOptions = {}): Promise<void> {
    await this.#underWay(() => this.#submittedWork(), options);
  }

  async #submittedWork(): Promise<void> {
    this.flush();
    const { mark } = this.#pace;
    if (!this.#lost) await this.#patiently(this.gpu.queue.onSubmittedWorkDone());
    this.#noteEnd(mark);
  }

  /** Copies `bytes` from `offset` (both multiples of 4) to the host. */
  async read(buffer: StorageBuffer, offset: number, bytes: number, options: WaitOptions = {}): Promise<ArrayBuffer> {
    return this.#underWay(() => this.#readBack(buffer, offset, bytes), options);
  }

  async #readBack(buffer: StorageBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    this.assertUsable();
    const staging = this.#acquireStaging(bytes);
    this.#recorded.push({ kind: 'read', source: buffer.gpu, offset, target: staging, bytes });
    buffer.lastBatch = this.#batch;
    this.flush();
    const { mark } = this.#pace;
    try {
      await this.#patiently(staging.mapAsync(MAP_MODE_READ, 0, bytes));
    } catch (error) {
      staging.destroy();
      await this.#reportFailures();
      throw new DeviceLostError(`device: a result could not be read back: ${(error as Error).message}`);
    }
    this.#noteEnd(mark);
    const copy = staging.getMappedRange(0, bytes).slice(0);
    staging.unmap();
    this.#releaseStaging(staging);
    return copy;
  }

  /**
   * Runs `work`, which records dispatches, and tells what it did. Dispatches are timed if the device has timestamp queries.
   */
  async profile<T>(work: () => T): Promise<{ value: T; profiled: Profiled }> {
    return this.#underWay(() => this.#profile(work));
  }

  async #profile<T>(work: () => T): Promise<{ value: T; profiled: Profiled }> {
    if (this.#profiler) throw (this.#nested = new ArgumentError(NESTED));
    this.flush();
    const profiler = new Profiler(this.gpu, MAX_BATCH);
    try {
      const value = this.#watched(profiler, work);
      const waited = profiler.begin('wait', 'wait');
      await this.#submittedWork();
      await this.#reportFailures();
      waited();
      return { value, profiled: await profiler.finish() };
    } finally {
      profiler.destroy();
    }
  }

  /** Work that others record while this is waited for is not profiled. */
  #watched<T>(profiler: Profiler, work: () => T): T {
    this.#profiler = profiler;
    const ended = profiler.begin('work', 'work');
    try {
      const value = work();
      this.flush();
      if (this.#nested) throw this.#nested;
      return value;
    } finally {
      ended();
      this.#profiler = undefined;
      this.#nested = undefined;
    }
  }

  acquire(bytes: number): StorageBuffer {
    this.assertUsable();
    return this.#pool.acquire(bytes);
  }

  /** A buffer that no recorded work uses, so that `write` need not submit first. */
  acquireToWrite(bytes: number): StorageBuffer {
    this.assertUsable();
    return this.#pool.acquire(bytes, ({ lastBatch }) => lastBatch !== this.#batch);
  }

  release(buffer: StorageBuffer): void {
    this.#pool.release(buffer);
  }

  /** The first `bytes` of a buffer that somebody else owns. */
  adopt(gpu: GPUBuffer, bytes: number): StorageBuffer {
    return this.#pool.adopt(gpu, bytes);
  }

  memory(): MemoryUse {
    return this.#pool.use();
  }

  /** The most bytes of tensor memory live at any time while `work` records. */
  peakDuring(work: () => void): number {
    return this.#pool.peakDuring(work);
  }

  counters(): Counters {
    return {
      submits: this.#submits,
      dispatches: this.#dispatches,
      pipelines: this.#pipelines.size,
      buffers: this.#buffers,
    };
  }

  assertUsable(): void {
    const reason = this.#lost ?? this.#closed;
    if (reason) throw reason;
  }

  /** Why nothing more can be done, if so. */
  get ended(): 'disposed' | 'closed' | 'lost' | undefined {
    if (this.#closed) return 'closed';
    return this.#disposed ? 'disposed' : this.#lost && 'lost';
  }

  /**
   * Lets nothing new begin, waits until no promise of the GPU is pending, and disposes. Waits under way get their results.
   * Calling it again returns the same promise.
   */
  close(destroyGpu: boolean): Promise<void> {
    return (this.#closing ??= this.#close(destroyGpu));
  }

  async #close(destroyGpu: boolean): Promise<void> {
    this.#closed = new DeviceLostError('device: the device was closed');
    this.flush();
    while (this.#waits.size > 0) await Promise.allSettled(this.#waits);
    this.#lost ??= this.#closed;
    this.dispose(destroyGpu);
    // Nobody waits for these failures any more, but Dawn's promises behind them must not stay pending.
    while (this.#failures.size > 0) {
      const failures = [...this.#failures];
      this.#failures.clear();
      await Promise.all(failures);
    }
  }

  /**
   * Runs a wait and reports failures. `close` waits for it. A signal, or a watcher that throws, ends the caller's wait, and leaves
   * failures to the next.
   */
  async #underWay<T>(begin: () => Promise<T>, { signal, onProgress }: WaitOptions = {}): Promise<T> {
    signal?.throwIfAborted();
    if (this.#closed) this.assertUsable();
    const watching = onProgress && new AbortController();
    const isOver = () => signal?.aborted || watching?.signal.aborted;
    const wait = async () => {
      try {
        const result = await begin();
        if (!isOver()) await this.#reportFailures();
        return result;
      } catch (error) {
        if (isOver()) this.#putBack(error);
        throw error;
      }
    };
    // a function of its own, because one `onProgress` may watch several waits
    const watcher = (progress: WaitProgress) => {
      try {
        onProgress?.(progress);
      } catch (error) {
        watching?.abort(error);
      }
    };
    if (watching) this.#watchers.add(watcher);
    try {
      return await abortable(abortable(this.#noteUnderWay(wait()), signal), watching?.signal);
    } finally {
      this.#watchers.delete(watcher);
    }
  }

  /** Leaves to the next wait what nobody hears any more. A lost device says so by itself. */
  #putBack(error: unknown): void {
    if (!(error instanceof WebGPUAttentionError) || error instanceof DeviceLostError) return;
    this.#failures = new Set([Promise.resolve(error), ...this.#failures]);
  }

  #noteUnderWay<T>(wait: Promise<T>): Promise<T> {
    this.#waits.add(wait);
    const remove = () => void this.#waits.delete(wait);
    wait.then(remove, remove);
    return wait;
  }

  /** `destroyGpu` is false for a device that the caller passed in. Then only what the runtime made is destroyed. */
  dispose(destroyGpu: boolean): void {
    if (this.#disposed) return;
    this.flush();
    this.#disposed = true;
    this.#pool.destroy();
    for (const buffer of this.#placeholders.values()) buffer.gpu.destroy();
    for (const free of this.#staging.values()) for (const buffer of free) buffer.destroy();
    this.#uniforms.destroy();
    this.#nothing?.destroy();
    this.#lost ??= new DeviceLostError('device: the device was disposed');
    if (destroyGpu) this.gpu.destroy();
  }

  #bindGroup(pipeline: Pipeline, bindings: Bindings): GPUBindGroup {
    const { storage, uniform } = pipeline.layout;
    const buffers = storage.map(({ name, access }) => {
      const buffer = bindings[name] ?? this.#placeholder(access === 'storage' ? name : '');
      buffer.lastBatch = this.#batch;
      return buffer;
    });
    for (const name of Object.keys(bindings)) {
      if (!storage.some((binding) => binding.name === name)) {
        throw new Error(`shader ${pipeline.name}: there is no binding ${name}`);
      }
    }
    const key = `${pipeline.id}:${buffers.map(({ id }) => id).join()}`;
    const known = this.#bindGroups.get(key);
    if (known) return known;
    const entries: GPUBindGroupEntry[] = storage.map(({ binding }, i) => ({
      binding,
      resource: { buffer: buffers[i].gpu, size: buffers[i].bytes },
    }));
    if (uniform) entries.push({ binding: uniform.binding, resource: { buffer: this.#uniforms, size: uniform.size } });
    const bindGroup = this.#guarded(
      () => this.gpu.createBindGroup({ layout: pipeline.bindGroupLayout, entries }),
      (message) => new ValidationError(`${pipeline.name}: ${message}`),
    );
    if (this.#bindGroups.size >= MAX_BIND_GROUPS) this.#bindGroups.clear();
    this.#bindGroups.set(key, bindGroup);
    return bindGroup;
  }

  /** A small buffer for an absent optional input: all read-only slots share one, each writable slot has its own. */
  #placeholder(name: string): StorageBuffer {
    let placeholder = this.#placeholders.get(name);
    if (!placeholder) {
      placeholder = this.#pool.adopt(this.#createBuffer(PLACEHOLDER_BYTES, STORAGE_USAGE), PLACEHOLDER_BYTES);
      this.#placeholders.set(name, placeholder);
    }
    return placeholder;
  }

  /** A buffer to read back through; its size may exceed `bytes`. */
  #acquireStaging(bytes: number): GPUBuffer {
    const { maxBufferSize } = this.limits;
    const size = Math.max(bytes, Math.min(sizeClass(bytes), maxBufferSize - (maxBufferSize % 4)));
    const free = this.#staging.get(size)?.pop();
    if (free) this.#stagingBytes -= size;
    return free ?? this.#createBuffer(size, BufferUsage.MAP_READ | BufferUsage.COPY_DST);
  }

  #releaseStaging(staging: GPUBuffer): void {
    const { size } = staging;
    if (this.#lost || this.#stagingBytes + size > MAX_STAGING) {
      staging.destroy();
      return;
    }
    const free = this.#staging.get(size);
    if (free) free.push(staging);
    else this.#staging.set(size, [staging]);
    this.#stagingBytes += size;
  }

  #createBuffer(size: number, usage: number, onFailure?: () => void): GPUBuffer {
    this.#buffers++;
    return this.#guarded(
      () => this.gpu.createBuffer({ size, usage }),
      (message) => this.#outOfMemory(`a buffer of ${size} bytes could not be made`, message),
      onFailure,
    );
  }

  /** Runs WebGPU calls. Errors that the GPU process finds in them later reject the next wait. */
  #guarded<T>(work: () => T, explain: (message: string) => Error, onFailure?: () => void): T {
    const { gpu } = this;
    const place = this.#place();
    gpu.pushErrorScope('out-of-memory');
    gpu.pushErrorScope('internal');
    gpu.pushErrorScope('validation');
    try {
      return work();
    } finally {
      const validation = gpu.popErrorScope();
      const internal = gpu.popErrorScope();
      const memory = gpu.popErrorScope();
      const failure = Promise.all([validation, internal, memory]).then(
        ([invalid, failed, exhausted]) => {
          const error = exhausted ?? invalid ?? failed;
          if (error) {
            onFailure?.();
            const message = error.message.trim() + place;
            const explained = explain(message);
            if (!exhausted) return explained;
            this.#pool.trim(); // so that trying again may succeed
            if (explained instanceof OutOfMemoryError) return explained;
            return this.#outOfMemory('the GPU is out of memory', message);
          }
          this.#failures.delete(failure);
          return undefined;
        },
        () => undefined,
      );
      this.#failures.add(failure);
    }
  }

  /** Where an error comes from, when debugging. */
  #place(): string {
    if (!this.#callSite) return '';
    return ` (${this.#recording === undefined ? '' : `in ${this.#recording}, `}called at ${this.#callSite()})`;
  }

  #outOfMemory(problem: string, message: string): OutOfMemoryError {
    const { live } = this.#pool.use();
    return new OutOfMemoryError(`memory: ${problem} (${message}), ${live} bytes are live; ${FREEING}`);
  }

  async #reportFailures(): Promise<void> {
    const failures = [...this.#failures];
    this.#failures.clear();
    const first = (await Promise.all(failures)).find((failure) => failure !== undefined);
    if (first) throw first;
    if (this.#lost) throw this.#lost;
  }
}

/** Lets the thread do what else is waiting. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve);
  });
}

function offsetsOf({ pipeline, uniformOffset }: Pick<RecordedDispatch, 'pipeline' | 'uniformOffset'>): number[] {
  return pipeline.layout.uniform ? [uniformOffset] : [];
}

function factsOf(
  { shader, constants, workgroups, operations }: Launch,
  label: string,
  { id, layout }: Pipeline,
  bindings: Bindings,
  bytes: Readonly<Record<string, number | undefined>> | undefined,
  pieces: number,
): DispatchFacts {
  const share = 1 / pieces;
  const total = (access: string) =>
    layout.storage.reduce((sum, binding) => {
      const { name } = binding;
      if (binding.access !== access) return sum;
      return sum + share * ((bytes ? bytes[name] : bindings[name]?.bytes) ?? 0);
    }, 0);
  const [bytesRead, bytesWritten] = ['read-only-storage', 'storage'].map(total);
  const facts = { label, kernel: shader.name, constants, pipeline: id, workgroups, share };
  return { ...facts, operations, bytesRead, bytesWritten };
}
