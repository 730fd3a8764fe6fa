/**
 * What caches of codes cost a language model with heads of 64: bytes, the error of attention's output, perplexity, and how often
 * the likeliest token is float32's. The text is held-out.txt, which the model has not seen: another stream of the program
 * that wrote the stories of its training.
 *
 *     npm run playground:train -- --width 128 --hidden 256 --layers 2 --heads 2 --length 512 --batch 2 \
 *       --steps 300 --warmup 30 --every 50 --model runs/cache-quality --out runs/cache-quality
 *     node bench/cache-quality/measure.mjs runs/cache-quality
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createDevice } from 'webgpu-attention';
import { Llama, readHuggingFaceLlama, readHuggingFaceTokenizer } from 'webgpu-attention/models';

const TOKENS = 500;
const CACHES = [
  { dtype: 'float32' },
  { dtype: 'float16' },
  { dtype: 'int8' },
  { dtype: 'int8', valueDType: 'int4' },
  { dtype: 'int4', valueDType: 'int8', hadamard: true },
  { dtype: 'int4' },
  { dtype: 'int4', hadamard: true },
];

const [folder = 'runs/cache-quality'] = process.argv.slice(2);
const [config, tokenizerText, text] = await Promise.all(
  [join(folder, 'config.json'), join(folder, 'tokenizer.json'), new URL('held-out.txt', import.meta.url)].map((file) =>
    readFile(file, 'utf8'),
  ),
);
const device = await createDevice({ adapter: process.env.WEBGPU_ATTENTION_ADAPTER });
const weights = new Uint8Array(await readFile(join(folder, 'model.safetensors')));
const model = new Llama(device, readHuggingFaceLlama(config, [weights]));
const tokens = readHuggingFaceTokenizer(tokenizerText)
  .encode(text)
  .slice(0, TOKENS + 1);
if (tokens.length <= TOKENS) throw new Error(`held-out.txt must have more than ${TOKENS} tokens, got ${tokens.length}`);

console.log(`Device: ${device.name}; ${TOKENS} tokens, one at a time`);
console.log("| keys | values | bytes a token | of float32's | NMSE | perplexity | against float32 | top-1 agreement |");
console.log('| --- | --- | --- | --- | --- | --- | --- | --- |');
let exact;
for (const options of CACHES) {
  const found = await run(options);
  exact ??= found;
  const { dtype, valueDType = dtype, hadamard } = options;
  const error = nmse(found.outputs, exact.outputs);
  const share = found.perplexity / exact.perplexity - 1;
  const agreement = found.likeliest.filter((token, i) => token === exact.likeliest[i]).length / TOKENS;
  const cells = [
    hadamard ? `${dtype}, Hadamard` : dtype,
    valueDType,
    String(found.bytes),
    (found.bytes / exact.bytes).toFixed(3),
    error === 0 ? '0' : error.toExponential(1),
    found.perplexity.toFixed(4),
    `${share < 0 ? '−' : '+'}${(100 * Math.abs(share)).toFixed(2)} %`,
    `${(100 * agreement).toFixed(1)} %`,
  ];
  console.log(`| ${cells.join(' | ')} |`);
}
model.dispose();
device.dispose();

/** Reads the text token by token. */
async function run(options) {
  const cache = model.createCache({ ...options, capacity: TOKENS });
  const attended = [];
  let bytes = 0;
  for (const layer of cache.layers) {
    for (const { shape, dtype } of [layer.keys, layer.values]) {
      bytes += shape[1] * shape[3] * (dtype === 'float16' ? 2 : 4);
    }
    const attend = layer.attend.bind(layer);
    layer.attend = (...given) => {
      const result = attend(...given);
      attended.push(result.output);
      device.keep(result.output);
      return result;
    };
  }
  const [outputs, likeliest] = [[], []];
  let sum = 0;
  for (let i = 0; i < TOKENS; i++) {
    const ids = device.tensor(Int32Array.of(tokens[i]), [1, 1]);
    const logits = model.forward(ids, cache);
    const values = await logits.data();
    const largest = values.reduce((most, value) => Math.max(most, value), -Infinity);
    const total = values.reduce((all, value) => all + Math.exp(value - largest), 0);
    sum += largest + Math.log(total) - values[tokens[i + 1]];
    likeliest.push(values.indexOf(largest));
    for (const output of attended.splice(0)) {
      outputs.push(await output.data());
      output.dispose();
    }
    ids.dispose();
    logits.dispose();
  }
  cache.dispose();
  return { bytes, outputs, likeliest, perplexity: Math.exp(sum / TOKENS) };
}

/** Σ (x − exact)² / Σ exact², over all layers and tokens. */
function nmse(outputs, exacts) {
  let [error, power] = [0, 0];
  outputs.forEach((output, at) => {
    output.forEach((value, i) => {
      error += (value - exacts[at][i]) ** 2;
      power += exacts[at][i] ** 2;
    });
  });
  return error / power;
}
