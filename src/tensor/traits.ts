import type { Shader } from '../gpu/shader.ts';

/** What kernels are planned for: the device's limits and class. Plain data. */
export interface Traits {
  readonly maxComputeWorkgroupStorageSize: number;
  readonly maxComputeWorkgroupsPerDimension: number;
  readonly maxComputeInvocationsPerWorkgroup: number;
  /** Storage buffers that one kernel may bind: at least eight, WebGPU's default, or more if the adapter has more. */
  readonly maxStorageBuffersPerShaderStage: number;
  /** Whether the driver runs on the CPU, where barriers and workgroup memory are slow. */
  readonly isSoftware: boolean;
  /** `GPUAdapterInfo.vendor`: `nvidia`, `amd`, `intel`, `apple`, `qualcomm` or `arm`; others, and none, are unknown. */
  readonly vendor?: string;
  /** Invocations of every subgroup; 0 if there are no subgroups, or their size varies. */
  readonly subgroupSize: number;
  /** The size that kernels on tensor cores must ask for, if the device has subgroups of several sizes. */
  readonly requiredSubgroupSize?: number;
  /** Kernels that multiply 16 × 16 matrices of f16 with f32 sums, as the device's compiler takes them; undefined if it takes none. */
  readonly subgroupMatrix?: MatrixShaders;
}

/** A shader whose workgroups may have subgroups of any size, and one that asks for its size. */
export interface MatrixEntries {
  readonly any: Shader;
  readonly required: Shader;
}

export interface MatrixShaders {
  readonly dialect: MatrixDialect;
  readonly attention: MatrixEntries;
  readonly matmul: MatrixEntries;
}

/** The type from which Dawn's compiler loads matrices; twin of parts/subgroup-matrix and parts/subgroup-matrix-scalars. */
export type MatrixDialect = 'vectors' | 'scalars';

/** Which kernel variant each op takes, by name. An op in neither map chooses by the device's class. */
export interface KernelChoices {
  /** By op, such as `flashAttention`. */
  readonly pinned: ReadonlyMap<string, string>;
  /** By op, dtype and size class, such as `flashAttention/float32/64`. */
  readonly tuned: ReadonlyMap<string, TunedKernel>;
}

/** What `tune()` chose. */
export interface TunedKernel {
  readonly kernel: string;
  /** Day of the measurement, such as `2026-03-01`. */
  readonly date: string;
}
