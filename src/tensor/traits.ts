/** What kernels are planned for: the device's limits, and what tells its class. Plain data. */
export interface Traits {
  readonly maxComputeWorkgroupStorageSize: number;
  readonly maxComputeWorkgroupsPerDimension: number;
  readonly maxComputeInvocationsPerWorkgroup: number;
  /** Storage buffers that one kernel may bind: eight at least, the default; more where the adapter has more. */
  readonly maxStorageBuffersPerShaderStage: number;
  /** A driver that runs on the CPU: barriers and workgroup memory are dear there. */
  readonly isSoftware: boolean;
  /** Invocations of every subgroup; 0 where there are no subgroups, or their size varies. */
  readonly subgroupSize: number;
  /** How to ask for products of 16 × 16 matrices of f16 with f32 sums; undefined where there are none that work. */
  readonly subgroupMatrix?: MatrixDialect;
}

/** What Dawn's compiler loads matrices from; twin of parts/subgroup-matrix and parts/subgroup-matrix-scalars. */
export type MatrixDialect = 'vectors' | 'scalars';

/** Which kernel variant each op takes, by name; what is in neither map is chosen by the device's class. */
export interface KernelChoices {
  /** By op, as `flashAttention`. */
  readonly pinned: ReadonlyMap<string, string>;
  /** By op, dtype and size class, as `flashAttention/float32/64`. */
  readonly tuned: ReadonlyMap<string, TunedKernel>;
}

/** What `tune()` chose. */
export interface TunedKernel {
  readonly kernel: string;
  /** Day of the measurement, as `2026-03-01`. */
  readonly date: string;
}
