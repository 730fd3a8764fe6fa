export { createDevice } from './create-device.ts';
export { Device } from './tensor/device.ts';
export type { DeviceInfo, DeviceOptions, TensorSource } from './tensor/device.ts';
export type { DispatchTime, KernelProfile, Profile, ProfileOptions, ProfileRoof } from './tensor/profile.ts';
export type { TunableOp, TunedCandidate, TunedChoice, TuneOptions, TuneProgress, TuneResult } from './tensor/tuning.ts';
export { Tensor } from './tensor/tensor.ts';
export type { FloatTensor } from './tensor/tensor.ts';
export type { CacheDType, DType, FloatDType, TensorData } from './tensor/dtype.ts';
export type { Shape } from './tensor/shape.ts';
export type { MemoryUse } from './gpu/buffers.ts';
export type { CompileEvent } from './gpu/pipelines.ts';
export type { PrepareOptions, PrepareProgress, WaitOptions, WaitProgress } from './gpu/runtime.ts';
export type { LivingTensors, MemoryDetail } from './tensor/memory.ts';
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
export { noGrad } from './autograd/tape.ts';
export { mean, sum } from './ops/sum.ts';
export type { SumOptions } from './ops/sum.ts';
export { linear } from './ops/linear.ts';
export type { LinearOptions } from './ops/linear.ts';
export { embedding } from './ops/embedding.ts';
export { layerNorm, rmsNorm } from './ops/normalise.ts';
export type { LayerNormOptions, RmsNormOptions } from './ops/normalise.ts';
export { dropout } from './ops/dropout.ts';
export type { DropoutOptions } from './ops/dropout.ts';
export {
  abs,
  add,
  divide,
  exp,
  gelu,
  log,
  maximum,
  minimum,
  multiply,
  power,
  relu,
  sigmoid,
  silu,
  sqrt,
  subtract,
  swiglu,
  tanh,
} from './ops/elementwise.ts';
export type { TensorOrNumber } from './ops/internal/elementwise.ts';
export { bceWithLogits, mseLoss } from './ops/loss.ts';
export type { LossOptions } from './ops/loss.ts';
export type { GeluOptions } from './ops/elementwise.ts';
export { rotaryEmbedding } from './ops/rotary-embedding.ts';
export type { RotaryEmbeddingOptions, RotaryPositions } from './ops/rotary-embedding.ts';
export { sample } from './ops/sample.ts';
export type { SampleOptions } from './ops/sample.ts';
export { crossEntropy } from './ops/cross-entropy.ts';
export type { CrossEntropyOptions } from './ops/cross-entropy.ts';
export { softmax } from './ops/softmax.ts';
export type { SoftmaxOptions } from './ops/softmax.ts';
export { cast, clone, concat, contiguous, reshape } from './ops/copy.ts';
export { scaledDotProductAttention } from './ops/attention/scaled-dot-product-attention.ts';
export type {
  ScaledDotProductAttentionOptions,
  ScaledDotProductAttentionResult,
} from './ops/attention/scaled-dot-product-attention.ts';
export { flashAttention } from './ops/attention/fused-attention.ts';
export type { FlashAttentionOptions } from './ops/attention/fused-attention.ts';
export { localAttention } from './ops/attention/fused-attention.ts';
export type { LocalAttentionOptions } from './ops/attention/fused-attention.ts';
export { mergeAttention } from './ops/attention/merge-attention.ts';
export type { AttentionPart } from './ops/attention/merge-attention.ts';
export type { AttentionResult } from './ops/attention/internal/call.ts';
export type {
  Alignment,
  AttentionOptions,
  Causal,
  ModifierOptions,
  ScoreOptions,
  VisibilityOptions,
  Window,
} from './ops/attention/internal/options.ts';

export { maskMod, scoreMod } from './ops/attention/score-mod.ts';
export type { Captures, MaskMod, Modifier, ScoreMod } from './ops/attention/score-mod.ts';
export type { BlockMask, BlockMaskOptions } from './ops/attention/block-mask.ts';
export { createBlockMask } from './ops/attention/create-block-mask.ts';
export {
  alibi,
  causalMask,
  documentMask,
  prefixLm,
  slidingWindow,
  softcap,
} from './ops/attention/ready-made-modifiers.ts';
export type { PositionOptions } from './ops/attention/ready-made-modifiers.ts';

export { keyMaskFromTorch, maskFromBlocked, maskFromTorch } from './ops/attention/convert-mask.ts';

export type { AttendOptions, CachedAttentionOptions } from './caches/attend.ts';
export { KeyValueCache } from './caches/key-value-cache.ts';
export type { AppendOptions, KeyValueCacheOptions } from './caches/key-value-cache.ts';
export { PagedKeyValueCache } from './caches/paged-key-value-cache.ts';
export type {
  PagedAppendOptions,
  PagedAttendOptions,
  PagedKeyValueCacheOptions,
} from './caches/paged-key-value-cache.ts';
export type { KeyValueOptions } from './caches/storage.ts';
export type { RotaryTables } from './caches/rotary.ts';

export { Module } from './modules/module.ts';
export type { BufferOptions, LoadStateDictOptions, LoadStateDictResult } from './modules/module.ts';
export { ModuleList } from './modules/module-list.ts';
export { Sequential } from './modules/sequential.ts';
export type { Layer } from './modules/sequential.ts';
export type { StateDict } from './modules/load-state.ts';
export { MultiHeadAttention } from './modules/multi-head-attention.ts';
export type { MultiHeadAttentionOptions } from './modules/multi-head-attention.ts';
export { SelfAttention } from './modules/self-attention.ts';
export { CrossAttention } from './modules/cross-attention.ts';
export type { CrossAttentionOptions } from './modules/cross-attention.ts';
export { LocalAttention } from './modules/local-attention.ts';
export type { LocalAttentionModuleOptions } from './modules/local-attention.ts';
export { Linear } from './modules/linear.ts';
export type { LinearModuleOptions } from './modules/linear.ts';
export { Dropout } from './modules/dropout.ts';
export type { DropoutModuleOptions } from './modules/dropout.ts';
export { Embedding } from './modules/embedding.ts';
export type { EmbeddingOptions } from './modules/embedding.ts';
export { LayerNorm } from './modules/layer-norm.ts';
export type { LayerNormModuleOptions } from './modules/layer-norm.ts';
export { RMSNorm } from './modules/rms-norm.ts';
export type { RmsNormModuleOptions } from './modules/rms-norm.ts';
export { RotaryEmbedding } from './modules/rotary-embedding.ts';
export type { RotaryEmbeddingModuleOptions } from './modules/rotary-embedding.ts';
export type { RotaryScaling } from './modules/rotary-frequencies.ts';
export { ScaledDotProductAttention } from './modules/scaled-dot-product-attention.ts';
export type { ScaledDotProductAttentionModuleOptions } from './modules/scaled-dot-product-attention.ts';
export type { AttentionDropoutForwardOptions, AttentionDropoutOptions } from './modules/attention-dropout.ts';
export { FlashAttention } from './modules/flash-attention.ts';
export type { FlashAttentionModuleOptions } from './modules/flash-attention.ts';
export { ProjectedContext } from './modules/projected-attention.ts';
export type {
  AttentionCache,
  AttentionForwardOptions,
  AttentionModuleResult,
  CachedForwardOptions,
  ProjectionOptions,
} from './modules/projected-attention.ts';
export { TransformerEncoder, TransformerEncoderLayer } from './modules/transformer-encoder.ts';
export type { TransformerEncoderForwardOptions } from './modules/transformer-encoder.ts';
export { TransformerDecoder, TransformerDecoderCache, TransformerDecoderLayer } from './modules/transformer-decoder.ts';
export type {
  TransformerDecoderCacheOptions,
  TransformerDecoderForwardOptions,
  TransformerDecoderLayerCache,
} from './modules/transformer-decoder.ts';
export type { TransformerLayerOptions, TransformerStackOptions } from './modules/transformer-layer.ts';

export { SGD } from './optimisers/sgd.ts';
export type { SgdOptions } from './optimisers/sgd.ts';
export { Adam, AdamW } from './optimisers/adam.ts';
export type { AdamOptions } from './optimisers/adam.ts';
export { Optimiser } from './optimisers/optimiser.ts';
export type { LearningRate } from './optimisers/optimiser.ts';
export type { OptimiserParameters, ParameterGroup } from './optimisers/parameters.ts';
export { cosineAnnealing, LambdaLR, linearWarmup, stepDecay } from './optimisers/schedule.ts';
export type { LearningRateFactor } from './optimisers/schedule.ts';
export { clipGradNorm } from './optimisers/clip-grad-norm.ts';
export type { ClipGradNormOptions } from './optimisers/clip-grad-norm.ts';
export { GradScaler } from './optimisers/grad-scaler.ts';
export type { GradScalerOptions } from './optimisers/grad-scaler.ts';

export { loadSafetensors, readSafetensorsHeader, saveSafetensors } from './io/safetensors.ts';
export type { LoadSafetensorsOptions } from './io/safetensors.ts';

export { attentionHeatmap, drawAttentionHeatmap } from './display/attention-heatmap.ts';
export type { AttentionHeatmapOptions, HeatmapCanvasContext, HeatmapWeights } from './display/attention-heatmap.ts';
