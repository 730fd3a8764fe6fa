/**
 * GPU time of the kernels: `npm run bench`, or `npm run bench -- flash` for the cases whose name holds a word.
 *
 * Each case is checked against float64 on sampled rows, then timed by timestamp queries: one warm-up, median of five.
 */
import Table from 'cli-table3';
import {
  createDevice,
  flashAttention,
  localAttention,
  matmul,
  scaledDotProductAttention,
  WebGPUAttentionError,
} from 'webgpu-attention';

const RUNS = 5;
const SAMPLES = 8;
/** Largest absolute error of a sampled element; inputs are standard normal. */
const TOLERANCE = 1e-3;

const device = await createDevice();
try {
  const word = process.argv[2] ?? '';
  const cases = [
    attentionCase('flash 8×1024×64', flashAttention, 1024, {}),
    attentionCase('flash 8×1024×64 causal', flashAttention, 1024, { isCausal: true }),
    attentionCase('materialised 8×1024×64', scaledDotProductAttention, 1024, {}),
    attentionCase('local 8×1024×64 ±64', localAttention, 1024, { window: { left: 64, right: 64 } }),
    attentionCase('local 8×4096×64 ±64', localAttention, 4096, { window: { left: 64, right: 64 } }),
    attentionCase('local 8×8192×64 ±64', localAttention, 8192, { window: { left: 64, right: 64 } }),
    matmulCase(1024),
  ].filter(({ name }) => name.includes(word));
  console.log(`${device.info.device || device.info.description} (${device.info.driver}), float32, median of ${RUNS}`);
  const table = new Table({ head: ['case', 'GPU ms', 'GFLOP/s', 'error'], style: { head: [], border: [] } });
  for (const make of cases) table.push(await measure(make.prepare(), make.name));
  console.log(table.toString());
} catch (error) {
  console.error(error instanceof WebGPUAttentionError ? error.message : error);
  process.exitCode = 1;
} finally {
  device.dispose();
}

async function measure({ operations, run, expected, inputs }, name) {
  const output = run();
  const values = await output.data();
  const length = output.shape.at(-1);
  const rows = values.length / length;
  let error = 0;
  for (let i = 0; i < SAMPLES; i++) {
    const row = Math.floor((i * (rows - 1)) / (SAMPLES - 1));
    const wanted = await expected(row);
    for (let j = 0; j < length; j++) error = Math.max(error, Math.abs(values[row * length + j] - wanted[j]));
  }
  output.dispose();
  if (!(error <= TOLERANCE)) throw new Error(`${name}: the result is off by ${error}`);

  const times = [];
  for (let i = 0; i < RUNS; i++) {
    const { gpuTime } = await device.profile(() => device.scope(() => void run()));
    times.push(gpuTime ?? NaN);
  }
  for (const input of inputs) input.dispose();
  const median = times.sort((a, b) => a - b)[Math.floor(RUNS / 2)];
  return [name, median.toFixed(1), (operations / median / 1e6).toFixed(1), error.toExponential(1)];
}

function attentionCase(name, op, length, options) {
  const [heads, dim] = [8, 64];
  const prepare = () => {
    const [q, k, v] = [1, 2, 3].map((seed) => device.randn([1, heads, length, dim], { seed }));
    const isVisible = (query, key) =>
      options.isCausal ? key <= query : options.window ? Math.abs(query - key) <= options.window.left : true;
    const keys = options.window ? options.window.left * 2 + 1 : options.isCausal ? length / 2 : length;
    let host;
    return {
      inputs: [q, k, v],
      operations: 4 * heads * length * keys * dim,
      run: () => op(q, k, v, options).output,
      expected: async (row) => {
        host ??= await Promise.all([q.data(), k.data(), v.data()]);
        const first = Math.floor(row / length) * length; // the head's first key
        return attendRow(host, { row, first, length, dim }, (key) => isVisible(row % length, key));
      },
    };
  };
  return { name, prepare };
}

/** One row of softmax(q kᵀ / √dim) v in float64. */
function attendRow([q, k, v], { row, first, length, dim }, isVisible) {
  const scores = Float64Array.from({ length }, (_, key) => {
    if (!isVisible(key)) return -Infinity;
    let dot = 0;
    for (let d = 0; d < dim; d++) dot += q[row * dim + d] * k[(first + key) * dim + d];
    return dot / Math.sqrt(dim);
  });
  const max = scores.reduce((a, b) => Math.max(a, b));
  const weights = scores.map((score) => Math.exp(score - max));
  const sum = weights.reduce((a, b) => a + b);
  return Float64Array.from({ length: dim }, (_, d) => {
    let value = 0;
    for (let key = 0; key < length; key++) value += (weights[key] / sum) * v[(first + key) * dim + d];
    return value;
  });
}

function matmulCase(size) {
  const prepare = () => {
    const [a, b] = [1, 2].map((seed) => device.randn([size, size], { seed }));
    let host;
    return {
      inputs: [a, b],
      operations: 2 * size ** 3,
      run: () => matmul(a, b),
      expected: async (row) => {
        const [x, y] = (host ??= await Promise.all([a.data(), b.data()]));
        return Float64Array.from({ length: size }, (_, column) => {
          let sum = 0;
          for (let i = 0; i < size; i++) sum += x[row * size + i] * y[i * size + column];
          return sum;
        });
      },
    };
  };
  return { name: `matmul ${size}³`, prepare };
}
