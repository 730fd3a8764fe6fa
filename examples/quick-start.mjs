import { createDevice, flashAttention, MultiHeadAttention } from 'webgpu-attention';

const device = await createDevice();
const x = device.randn([2, 128, 512], { seed: 1 }); // [batch, length, dim]

const attention = new MultiHeadAttention(device, { embedDim: 512, numHeads: 8, seed: 2 });
const { output, weights } = attention.forward(x, x, x, { isCausal: true, needWeights: true });
console.log(output.shape, weights.shape, (await output.data()).slice(0, 3));

const q = device.randn([1, 8, 1024, 64], { seed: 3 }); // [batch, heads, length, headDim]
const kv = device.randn([1, 2, 1024, 64], { seed: 4 }); // four query heads share a key head
const fused = flashAttention(q, kv, kv, { isCausal: true, returnLogSumExp: true });
console.log(fused.output.shape, fused.logSumExp.shape, device.memory());

device.dispose();
