/** What kernels are planned for: the device's limits, and what tells its class. Plain data. */
export interface Traits {
  readonly maxComputeWorkgroupStorageSize: number;
  readonly maxComputeWorkgroupsPerDimension: number;
  readonly maxComputeInvocationsPerWorkgroup: number;
  /** A driver that runs on the CPU: barriers and workgroup memory are dear there. */
  readonly isSoftware: boolean;
  /** Invocations of every subgroup; 0 where there are no subgroups, or their size varies. */
  readonly subgroupSize: number;
}

/** Which kernel variant each op takes, by name; what is in neither map is chosen by the device's class. */
export interface KernelChoices {
  /** By op, as `flashAttention`. */
  readonly pinned: ReadonlyMap<string, string>;
  /** By op, dtype and size class, as `flashAttention/float32/64`. */
  readonly tuned: ReadonlyMap<string, TunedKernel>;
}

/** What `tune()` found to be the fastest. */
export interface TunedKernel {
  readonly kernel: string;
  /** Day of the measurement, as `2026-03-01`. */
  readonly date: string;
}
