/** A user's program in all parts of the API. It names nothing that a compiler may not know without the DOM or `@webgpu/types`. */
import type { Tensor } from 'webgpu-attention';
import {
  AdamW,
  add,
  cast,
  clipGradNorm,
  concat,
  createBlockMask,
  createDevice,
  crossEntropy,
  Embedding,
  flashAttention,
  GradScaler,
  KeyValueCache,
  layerNorm,
  LayerNorm,
  Linear,
  loadSafetensors,
  localAttention,
  maskFromTorch,
  matmul,
  Module,
  MultiHeadAttention,
  noGrad,
  PagedKeyValueCache,
  relu,
  RotaryEmbedding,
  sample,
  saveSafetensors,
  scaledDotProductAttention,
  scoreMod,
  SelfAttention,
  slidingWindow,
  softmax,
  WebGPUAttentionError,
  type Device,
  type DeviceOptions,
  type DType,
  type FloatTensor,
  type TensorData,
} from 'webgpu-attention';

/** Whether two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function isTrue<T extends true>(): T | void {}

const options: DeviceOptions = { memoryBudget: 2 ** 30, debug: true, kernels: { flashAttention: 'tile-32x32' } };

export async function dtypes(device: Device, wanted: DType): Promise<void> {
  const floats = await device.tensor([1, 2], [2]).data();
  isTrue<Same<typeof floats, Float32Array>>();
  const halves = await device.tensor([1, 2], [2], { dtype: 'float16', requiresGrad: true }).data();
  isTrue<Same<typeof halves, Float32Array>>();
  const integers = await device.tensor([1, 2], [2], { dtype: 'int32' }).data();
  isTrue<Same<typeof integers, Int32Array>>();
  const bits = await device.tensor(Uint8Array.of(0, 1), [2]).data();
  isTrue<Same<typeof bits, Uint8Array>>();
  const numbers = await device.tensor(Uint32Array.of(0, 1), [2]).reshape([1, 2]).data();
  isTrue<Same<typeof numbers, Uint32Array>>();
  const zeros = await device.zeros([2], { dtype: 'uint32' }).expand([3, 2]).slice(0, 1).transpose().detach().data();
  isTrue<Same<typeof zeros, Uint32Array>>();
  const casted = await cast(device.randn([2]), 'float16').data();
  isTrue<Same<typeof casted, Float32Array>>();
  const joined = await concat(device.zeros([2], { dtype: 'bool' }), device.tensor(Uint8Array.of(1), [1]), 0).data();
  isTrue<Same<typeof joined, Uint8Array>>();

  // what is known of a tensor is lost in a type that says nothing, and comes back with a look at its dtype
  const unknown: Tensor = device.randn([2]);
  const anything = await unknown.data();
  isTrue<Same<typeof anything, TensorData>>();
  isTrue<Same<typeof unknown.dtype, DType>>();
  const chosen: Tensor = device.zeros([2], { dtype: wanted });
  // @ts-expect-error an Int32Array is no Float32Array
  const wrong: Float32Array = await device.zeros([2], { dtype: 'int32' }).data();
  // @ts-expect-error neither is it known what this is
  const unsure: Float32Array = await chosen.data();
  void [wrong, unsure];

  let x = device.randn([2, 8]); // needs no annotation to go through ops and modules
  x = relu(add(x, x));
  x = layerNorm(x, 8);
  x = new Linear(device, { inFeatures: 8, outFeatures: 8 }).forward(x);
  x = x.reshape([1, 2, 8]);
  x = flashAttention(x, x, x).output;
  isTrue<Same<typeof x, FloatTensor>>();
}

export async function attention(device: Device): Promise<Float32Array> {
  const q = device.randn([1, 8, 128, 64], { seed: 1, dtype: 'float16' });
  const { output, logSumExp } = flashAttention(q, q, q, { isCausal: true, returnLogSumExp: true, softcap: 30 });
  const local = localAttention(q, q, q, { window: { left: 64, right: 0 } });
  const { weights } = scaledDotProductAttention(q, q, q, { returnWeights: true });
  const causal = scoreMod(
    'fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 { return 2.0 * score; }',
  );
  const blockMask = createBlockMask(device, slidingWindow(8), { queryLength: 128, keyLength: 128 });
  flashAttention(q, q, q, { scoreMod: causal });
  flashAttention(q, q, q, { blockMask, mask: maskFromTorch(device.zeros([128, 128], { dtype: 'bool' }), 8) });
  const sizes: readonly number[] = output.shape;
  const parts: Float32Array[] = [await output.data(), await local.output.data()];
  if (logSumExp) parts.push(await logSumExp.data());
  if (weights) parts.push(await softmax(weights).data());
  // @ts-expect-error there is no such option
  flashAttention(q, q, q, { casual: true });
  return matmul(output, output, { transposeB: true })
    .data()
    .then((data) => data.subarray(sizes[0]));
}

class Block extends Module {
  readonly attention: SelfAttention;
  readonly norm: LayerNorm;

  constructor(device: Device) {
    super('Block');
    this.norm = this.registerModule('norm', new LayerNorm(device, { normalizedShape: 64 }));
    this.attention = this.registerModule(
      'attention',
      new SelfAttention(device, { embedDim: 64, numHeads: 4, seed: 1 }),
    );
  }

  forward(x: Tensor): FloatTensor {
    return add(x, this.attention.forward(this.norm.forward(x), { isCausal: true }).output);
  }
}

export async function training(device: Device): Promise<number> {
  const block = new Block(device);
  const table = new Embedding(device, { numEmbeddings: 10, embeddingDim: 64 });
  const optimiser = new AdamW([...block.parameters(), ...table.parameters()], { lr: 1e-3 });
  const scaler = new GradScaler(device);
  const ids = device.tensor(
    Int32Array.from({ length: 16 }, (_, i) => i % 10),
    [1, 16],
  );
  const loss = device.scope(() => {
    const result = crossEntropy(block.forward(table.forward(ids)), ids);
    scaler.scale(result).backward();
    clipGradNorm(block.parameters(), 1);
    optimiser.step();
    optimiser.zeroGrad();
    return result;
  });
  const state: Record<string, Tensor> = block.stateDict();
  const file: Uint8Array = await saveSafetensors(state);
  block.loadStateDict(await loadSafetensors(device, file));
  const [value] = await loss.data();
  return value;
}

export async function caches(device: Device): Promise<void> {
  const rotary = new RotaryEmbedding(device, { dim: 64, maxLength: 128 });
  const cache = new KeyValueCache(device, { batch: 1, numKvHeads: 2, headDim: 64, capacity: 128 });
  const paged = new PagedKeyValueCache(device, { numKvHeads: 2, headDim: 64, numPages: 8, pageSize: 16 });
  const k = device.randn([1, 2, 1, 64]);
  cache.append(k, k, { rotary });
  const { output } = cache.attend(device.randn([1, 8, 1, 64]), { rotary });
  const id = paged.add();
  paged.append([id], k, k);
  paged.attend([id], k);
  const next = sample(output.reshape([1, 512]), { temperature: 0 });
  const [token] = await next.data();
  const whole: number = token;
  void whole;
}

export async function run(): Promise<void> {
  const device = await createDevice(options);
  try {
    const module = new MultiHeadAttention(device, { embedDim: 64, numHeads: 4 });
    const x = device.randn([2, 8, 64]);
    const { output, weights } = noGrad(() => module.forward(x, x, x, { needWeights: true }));
    output.dispose();
    weights?.dispose();
    const { gpuTime, value } = await device.profile(() => relu(x));
    const time: number | undefined = gpuTime;
    const shape: readonly number[] = value.shape;
    void [time, shape];
    await device.sync({ onProgress: (progress) => void progress });
    await Promise.all([dtypes(device, 'int32'), attention(device), training(device), caches(device)]);
  } catch (error) {
    if (!(error instanceof WebGPUAttentionError)) throw error;
  } finally {
    await device.close();
  }
}
