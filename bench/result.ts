/** What a run of the benchmark leaves behind: one JSON file, read by the report, the comparison and the tables. */

/** Written to the file; readers refuse any other. */
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
  /** Cases that have no figures: their result was wrong, or they could not run. Absent: there were none. */
  readonly failures?: readonly Failure[];
  /** Present after `npm run bench:peers`. */
  readonly peers?: PeersResult;
}

export interface DeviceRecord {
  /** The adapter's own name, as `llvmpipe (LLVM 15.0.6, 256 bits)`. */
  readonly name: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** `hardware`, or the software driver's name. */
  readonly driver: string;
  readonly isSoftware: boolean;
}

/** What the device can do, measured by the same run. Absent: it cannot, or it cannot be measured. */
export interface Roof {
  /** Billions of floating-point operations a second, a fused multiply-add counting two. */
  readonly f32Gflops: number;
  readonly f16Gflops?: number;
  /** Billions of bytes a second, read plus written by a kernel that copies. */
  readonly copyGBs: number;
  /** Microseconds that one more dispatch, one more pass, one more submit costs. */
  readonly dispatchUs: number;
  readonly passUs: number;
  readonly submitUs: number;
}

export interface Failure {
  /** Of the case. */
  readonly name: string;
  /** One sentence. */
  readonly reason: string;
}

/** Milliseconds over the timed runs. */
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

/** A pass forward and one back. */
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
  /** Of the keys, where they are not as many as the queries; of a cache that is appended to, its capacity. */
  readonly keyLength?: number;
  /** Of each batch entry, where their keys are not as many. */
  readonly keyLengths?: readonly number[];
  /** Heads of keys and values, where several heads of the query share one. */
  readonly kvHeads?: number;
  /** Of a module. */
  readonly heads?: number;
  /** What bounds the scores. */
  readonly softcap?: number;
  /** Linear biases, by the usual slopes 2^(−8 (h + 1) / H). */
  readonly alibi?: boolean;
  /** A logit for each head that takes weight and has no value. */
  readonly sinks?: boolean;
  /** What gives the softcap or the biases, or says who sees whom, in place of the op's own options. */
  readonly via?: 'score-mod' | 'mask-mod' | 'block-mask';
  /** Partial results that are merged. */
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
   * `gflops` over the roof that flops / bytes allows: min(rate of the dtype's arithmetic, bandwidth · flops / bytes). Of
   * what only moves bytes, `gbs` over the bandwidth.
   */
  readonly roofShare: number;
  /** Most GPU bytes in use at once beyond the inputs and outputs. */
  readonly extraBytes: number;
}

/** Times of ours and of peers, a process each, in turns: wall milliseconds from the call to the end of the wait. */
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
  /** A CPU library stands there for scale only. */
  readonly isWebGpu: boolean;
  readonly timing?: Timing;
  /** Largest absolute difference from float64. */
  readonly error?: number;
  readonly isRight?: boolean;
  /** Why there is no timing, one sentence. */
  readonly failure?: string;
}
