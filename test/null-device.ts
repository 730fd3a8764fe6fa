/**
 * Dawn's null backend: its compiler checks shaders for tensor cores as it does for a GPU that has them, its limits are
 * WebGPU's defaults, and nothing runs.
 */
interface Opened {
  /** Kept: the process aborts if it is collected while the device lives. */
  readonly instance: GPU;
  readonly device: GPUDevice;
}

let shared: Promise<Opened> | undefined;

export async function nullDevice(): Promise<GPUDevice> {
  return (await (shared ??= open())).device;
}

async function open(): Promise<Opened> {
  const { create } = await import('webgpu');
  const instance = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
  const adapter = await instance.requestAdapter();
  const requiredFeatures = [
    'shader-f16',
    'subgroups',
    'subgroup-size-control',
    'chromium-experimental-subgroup-matrix',
  ] as GPUFeatureName[];
  return { instance, device: await adapter!.requestDevice({ requiredFeatures }) };
}
