/**
 * Profiles a transformer block: `node examples/profile.mjs`, after `npm run build`. With the result of a benchmark, whose roof
 * it reads, it also tells each kernel's share of that roof:
 *
 *     npx webgpu-attention bench --filter softmax --json result.json
 *     node examples/profile.mjs result.json
 */
import { readFile, writeFile } from 'node:fs/promises';
import { add, createDevice, gelu, LayerNorm, Linear, noGrad, SelfAttention } from 'webgpu-attention';

const [result] = process.argv.slice(2);
const roof = result && JSON.parse(await readFile(result, 'utf8')).roof;

const device = await createDevice();
const norm1 = new LayerNorm(device, { normalizedShape: 256 });
const attention = new SelfAttention(device, { embedDim: 256, numHeads: 4 });
const norm2 = new LayerNorm(device, { normalizedShape: 256 });
const widen = new Linear(device, { inFeatures: 256, outFeatures: 1024 });
const narrow = new Linear(device, { inFeatures: 1024, outFeatures: 256 });
const x = device.randn([1, 1024, 256]); // [B, N, E]

function block() {
  const { output } = attention.forward(norm1.forward(x), { isCausal: true });
  const attended = add(x, output);
  return add(attended, narrow.forward(gelu(widen.forward(norm2.forward(attended)))));
}
const run = () => noGrad(() => device.scope(block));

await device.profile(run); // compiles
const profile = await device.profile(run, { roof });
const time = profile.gpuTime === undefined ? 'no timestamps' : `${profile.gpuTime.toFixed(1)} ms`;
console.log(`${time} on ${device.name}`);
console.table(
  profile.kernels.map(({ op, kernel, calls, gpuTime, timeShare, gbs, gflops, roofShare }) => ({
    op,
    kernel,
    calls,
    'GPU ms': gpuTime?.toFixed(2),
    'of time': timeShare?.toFixed(2),
    'GB/s': gbs?.toFixed(2),
    'GFLOP/s': gflops?.toFixed(1),
    'of roof': roofShare?.toFixed(2),
  })),
);
await writeFile('trace.json', profile.trace());
console.log('trace.json: open it in https://ui.perfetto.dev or chrome://tracing');
device.dispose();
