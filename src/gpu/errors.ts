/** Base class of every error that this library makes on purpose. */
export class WebGPUAttentionError extends Error {
  override name = 'WebGPUAttentionError';
}

/** A call was refused before anything happened: the message names the op, the argument, what was expected and what came. */
export class ArgumentError extends WebGPUAttentionError {
  override name = 'ArgumentError';
}

/** No adapter of the wanted kind; the message says what to install. */
export class AdapterNotFoundError extends WebGPUAttentionError {
  override name = 'AdapterNotFoundError';
}

/** The device was lost or disposed before recorded work was done. */
export class DeviceLostError extends WebGPUAttentionError {
  override name = 'DeviceLostError';
}

/** The byte budget (`createDevice({ memoryBudget })`) or the GPU's own memory is exhausted. */
export class OutOfMemoryError extends WebGPUAttentionError {
  override name = 'OutOfMemoryError';
}

/** A shader did not compile or a pipeline could not be made; the message carries line and column. */
export class ShaderError extends WebGPUAttentionError {
  override name = 'ShaderError';
}

/** WebGPU rejected recorded work. This is a defect of this library, or wrong usage flags of a wrapped buffer. */
export class ValidationError extends WebGPUAttentionError {
  override name = 'ValidationError';
}

/** A state dict or file does not hold what it should; lists every problem found. */
export class LoadError extends WebGPUAttentionError {
  override name = 'LoadError';
}
