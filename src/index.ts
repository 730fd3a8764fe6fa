export { createDevice } from './tuning/create-device.ts';
export { Device } from './tensor/device.ts';
export type { DeviceInfo, DeviceOptions, Profile, TensorSource } from './tensor/device.ts';
export type { TunableOp, TunedCandidate, TunedChoice, TuneOptions, TuneProgress, TuneResult } from './tensor/tuning.ts';
export { Tensor } from './tensor/tensor.ts';
export type { DType, FloatDType, TensorData } from './tensor/dtype.ts';
export type { Shape } from './tensor/shape.ts';
export type { MemoryUse } from './gpu/buffers.ts';
export type { DispatchTime } from './gpu/stopwatch.ts';
export {
  AdapterNotFoundError,
  ArgumentError,
  DeviceLostError,
  LoadError,
  OutOfMemoryError,
  ShaderError,
  ValidationError,
  WebGPUAttentionError,
} from './gpu/errors.ts';

export { matmul } from './ops/matmul.ts';
export type { MatmulOptions } from './ops/matmul.ts';
export { softmax } from './ops/softmax.ts';
export type { SoftmaxOptions } from './ops/softmax.ts';
export { cast, clone, concat, contiguous, reshape } from './ops/copy.ts';
export { scaledDotProductAttention } from './ops/scaled-dot-product-attention.ts';
export type {
  ScaledDotProductAttentionOptions,
  ScaledDotProductAttentionResult,
} from './ops/scaled-dot-product-attention.ts';
export { flashAttention } from './ops/flash-attention.ts';
export type { FlashAttentionOptions } from './ops/flash-attention.ts';
export { localAttention } from './ops/local-attention.ts';
export type { LocalAttentionOptions } from './ops/local-attention.ts';
export type { AttentionOptions, AttentionResult } from './ops/attention.ts';
export type { Alignment, Causal, VisibilityOptions, Window } from './ops/visibility.ts';

export { keyMaskFromTorch, maskFromBlocked, maskFromTorch } from './ops/convert-mask.ts';

export { Module } from './modules/module.ts';
export type { StateDict } from './modules/module.ts';
export { MultiHeadAttention } from './modules/multi-head-attention.ts';
export type { MultiHeadAttentionOptions } from './modules/multi-head-attention.ts';
export { SelfAttention } from './modules/self-attention.ts';
export { CrossAttention } from './modules/cross-attention.ts';
export type { CrossAttentionOptions } from './modules/cross-attention.ts';
export { LocalAttention } from './modules/local-attention.ts';
export type { LocalAttentionModuleOptions } from './modules/local-attention.ts';
export { ScaledDotProductAttention } from './modules/scaled-dot-product-attention.ts';
export { FlashAttention } from './modules/flash-attention.ts';
export type { FlashAttentionModuleOptions } from './modules/flash-attention.ts';
export type {
  AttentionForwardOptions,
  AttentionModuleResult,
  ProjectionOptions,
} from './modules/projected-attention.ts';

export { loadSafetensors, saveSafetensors } from './io/safetensors.ts';
