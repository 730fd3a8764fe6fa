import type { Traits } from '../tensor/traits.ts';

/** Dawn's `GPUAdapterInfo.subgroupMatrixConfigs`, which is no standard yet. */
interface MatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Whether a device was opened with tensor cores that multiply the matrices of our kernels. */
export function offersMatrices({ features, adapterInfo }: GPUDevice, traits: Traits): boolean {
  const { subgroupMatrixConfigs = [] } = adapterInfo as { subgroupMatrixConfigs?: readonly MatrixConfig[] };
  return (
    features.has('chromium-experimental-subgroup-matrix') &&
    features.has('shader-f16') &&
    (traits.requiredSubgroupSize ?? traits.subgroupSize) > 0 &&
    [...subgroupMatrixConfigs].some(
      ({ componentType, resultComponentType, M, N, K }) =>
        componentType === 'f16' && resultComponentType === 'f32' && [M, N, K].every((length) => length === 16),
    )
  );
}
