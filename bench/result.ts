/** The result of a run: one JSON file, which the report, the comparison and the tables read. */

/** The version of the file's format; readers refuse any other. */
export const FORMAT = 1;

export interface BenchResult {
  readonly format: typeof FORMAT;
  /** When the run began, ISO 8601. */
  readonly date: string;
  readonly versions: {
    readonly package: string;
    /** `node 20.20.2`. */
    readonly runtime: string;
    /** `webgpu 0.6.2`, what speaks to the GPU; absent where the runtime has WebGPU of its own. */
    readonly webgpu?: string;
  };
  readonly device: DeviceRecord;
  readonly host: { readonly platform: string; readonly cpu: string; readonly cores: number };
  readonly roof: Roof;
  readonly cases: readonly CaseResult[];
  /** Cases that have no figures, because their result was wrong or they could not run. Absent if there are none. */
  readonly failures?: readonly Failure[];
  /** Present after `npm run bench:peers`. */
  readonly peers?: PeersResult;
}

export interface DeviceRecord {
  /** The adapter's own name, such as `llvmpipe (LLVM 15.0.6, 256 bits)`. */
  readonly name: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** `hardware`, or the software driver's name. */
  readonly driver: string;
  readonly isSoftware: boolean;
}

/** What the device can do, measured in the same run. A field is absent if the device cannot do it, or cannot time it. */
export interface Roof {
  /** Billions of floating-point operations a second; a fused multiply-add counts as two. */
  readonly f32Gflops: number;
  readonly f16Gflops?: number;
  /** Billions of bytes a second, read plus written by a kernel that copies. */
  readonly copyGBs: number;
  /** Microseconds that one more dispatch, one more pass and one more submit cost. */
  readonly dispatchUs: number;
  readonly passUs: number;
  readonly submitUs: number;
}

export interface Failure {
  /** The case's name. */
  readonly name: string;
  /** One sentence. */
  readonly reason: string;
}

/** Milliseconds of the timed runs. */
export interface Timing {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** 95 % bootstrap interval of the median. */
  readonly low: number;
  readonly high: number;
  readonly runs: number;
}

export type OpName =
  | 'matmul'
  | 'softmax'
  | AttentionOpName
  | 'mergeAttention'
  | CacheOpName
  | TrainingOpName
  | 'SelfAttention'
  | 'MultiHeadAttention'
  | 'CrossAttention'
  | 'LocalAttention';

export type AttentionOpName = 'scaledDotProductAttention' | 'flashAttention' | 'localAttention';

export type CacheOpName =
  | 'KeyValueCache.attend'
  | 'KeyValueCache.append'
  | 'PagedKeyValueCache.attend'
  | 'PagedKeyValueCache.append';

/** A forward and a backward pass. */
export type TrainingOpName = `${AttentionOpName}.train`;

/** A problem to measure, as data. */
export interface BenchCase {
  readonly op: OpName;
  /**
   * `[B, H, N, D]` of attention, and of what is appended to a cache; `[batch, M, N, K]` of matmul; the input's of softmax
   * and of modules (`[B, N, E]`).
   */
  readonly shape: readonly number[];
  readonly dtype: 'float32' | 'float16';
  readonly causal: boolean;
  /** Keys to either side, for windows. */
  readonly window?: number;
  readonly mask?: 'bool' | 'float' | 'key';
  /** Number of keys, if it differs from that of queries; for appending to a cache, its capacity. */
  readonly keyLength?: number;
  /** Number of keys of each batch entry, if these differ. */
  readonly keyLengths?: readonly number[];
  /** Heads of keys and values, if several heads of the query share one. */
  readonly kvHeads?: number;
  /** Heads of a module. */
  readonly heads?: number;
  /** The bound of the scores. */
  readonly softcap?: number;
  /** Linear biases with the usual slopes 2^(−8 (h + 1) / H). */
  readonly alibi?: boolean;
  /** A logit for each head that takes weight and has no value. */
  readonly sinks?: boolean;
  /** Gives the softcap, the biases or the visibility in place of the op's own options. */
  readonly via?: 'score-mod' | 'mask-mod' | 'block-mask';
  /** The number of partial results that are merged. */
  readonly parts?: number;
}

export interface CaseResult extends BenchCase {
  /** Unique, and stable from run to run: `flashAttention 1x8x1024x64 causal float32`. */
  readonly name: string;
  /** The kernel family and tile that ran, as `info` names it: `subgroup`, `tile-32x32`. */
  readonly kernel?: string;
  /** On the GPU, by timestamp queries; absent where the device has none. */
  readonly gpu?: Timing;
  /** From the call to the end of the wait for it, on the host. */
  readonly wall: Timing;
  /** Largest absolute difference from float64 on the sampled rows; `tolerance` is what it had to stay below. */
  readonly error: number;
  readonly tolerance: number;
  /** Floating-point operations that the problem needs (not those that a kernel wastes), and bytes that it must move. */
  readonly flops: number;
  readonly bytes: number;
  readonly gflops: number;
  readonly gbs: number;
  /**
   * `gflops` over the roof that flops / bytes allows: min(rate of the dtype's arithmetic, bandwidth · flops / bytes). For
   * a case that only moves bytes, `gbs` over the bandwidth.
   */
  readonly roofShare: number;
  /** Most GPU bytes in use at once beyond the inputs and outputs. */
  readonly extraBytes: number;
}

/** Wall milliseconds of this library and its peers, from the call to the end of the wait; each ran in its own process, in turns. */
export interface PeersResult {
  readonly date: string;
  readonly rows: readonly PeerRow[];
}

export interface PeerRow {
  /** `flash 8×1024×64`, `matmul 1024³`. */
  readonly name: string;
  readonly entries: readonly PeerEntry[];
}

export interface PeerEntry {
  /** `webgpu-attention`, `onnxruntime-web (initialised)`, `onnxruntime-node (CPU)` … */
  readonly library: string;
  readonly version: string;
  /** False for a CPU library, which is shown for scale only. */
  readonly isWebGpu: boolean;
  readonly timing?: Timing;
  /** Largest absolute difference from float64. */
  readonly error?: number;
  readonly isRight?: boolean;
  /** Why there is no timing, one sentence. */
  readonly failure?: string;
}
